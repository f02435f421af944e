"""A library with the functions of NVIDIA's driver, for machines without one."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from srgan.utils import cuda_driver

SOURCE = """
#include <stddef.h>
int cuInit(unsigned int flags) { return RESULT; }
int cuDriverGetVersion(int *version) { *version = VERSION; return 0; }
int cuDeviceGet(int *device, int number) { *device = number; return number; }
static int retained = 0, pushed = 0;
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = &retained; retained++; return device; }
int cuDevicePrimaryCtxRelease_v2(int device) { retained--; return device; }
int cuCtxPushCurrent_v2(void *context) { pushed++; return context != &retained; }
int cuCtxPopCurrent_v2(void **context) { pushed--; return 0; }
int cuMemGetInfo_v2(size_t *bytes, size_t *total) { *bytes = 3UL << 32; *total = 4UL << 32; return !pushed; }
int held(void) { return retained + pushed; }
"""
FREE = 3 << 32


def write(folder: Path, version: int = 12040, result: int = 0) -> Path:
    """Compile a driver for a CUDA version, whose `cuInit` has a result. `held` counts what `free_memory` did not give back."""
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("no C compiler")
    path = folder / "libcuda.so.1"
    macros = (f"-DVERSION={version}", f"-DRESULT={result}")
    subprocess.run([compiler, "-x", "c", *macros, "-shared", "-fPIC", "-O0", "-o", path, "-"], input=SOURCE, text=True, check=True)
    return path


def use(monkeypatch: pytest.MonkeyPatch, path: Path) -> ctypes.CDLL:
    """Let this process find a driver."""
    monkeypatch.setattr(cuda_driver, "LIBRARY", str(path))
    return ctypes.CDLL(str(path))
