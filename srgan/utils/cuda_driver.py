"""NVIDIA's driver, asked without PyTorch: whether there is a GPU, the CUDA version of the driver and the free memory.

Source: the CUDA driver API, sections "Initialization", "Version Management", "Primary Context Management" and "Memory Management".
"""

import ctypes
import sys

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
NO_DEVICE, STUB = 100, 34  # results of cuInit: no GPU that this process may see, and a library without a driver


def sees_gpu() -> bool:
    """Return whether the driver finds a GPU that this process may use. `CUDA_VISIBLE_DEVICES` may hide all of them.

    An error of the driver counts as a GPU: a driver without a GPU reports none.
    """
    driver = _load()
    return driver is not None and driver.cuInit(0) not in (NO_DEVICE, STUB)


def cuda_version() -> str:
    """Return the newest CUDA version that the driver supports, such as ``12.4``. Empty without a driver."""
    driver, number = _load(), ctypes.c_int()
    if driver is None or driver.cuDriverGetVersion(ctypes.byref(number)):
        return ""
    return f"{number.value // 1000}.{number.value % 1000 // 10}"


def free_memory() -> int | None:
    """Return the free bytes of the first GPU of this process, which `CUDA_VISIBLE_DEVICES` selects. None if the driver does not answer."""
    driver = _load()
    device, context, free, total = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_size_t()
    if driver is None or driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        return None
    if driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device):
        return None
    try:
        if driver.cuCtxPushCurrent_v2(context):
            return None
        failed = driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
        driver.cuCtxPopCurrent_v2(ctypes.byref(context))
        return None if failed else free.value
    finally:
        driver.cuDevicePrimaryCtxRelease_v2(device)


def _load() -> ctypes.CDLL | None:
    try:
        driver = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    return driver if hasattr(driver, "cuInit") else None
