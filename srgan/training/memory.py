"""Advice for a training that needs more memory than there is."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from srgan.config.training import Optimization
from srgan.utils.errors import SrganError, reason

KNOWN = ("out of memory", "can't allocate memory", "not enough memory")
# Of cuDNN and cuBLAS, which allocate memory of their own and name no cause.
OF_LIBRARIES = ("ALLOC_FAILED", "ALLOCATION_FAILED", "CUBLAS_STATUS_NOT_INITIALIZED", "find an engine", "find a valid cuDNN algorithm")


@contextmanager
def memory_advice(options: Optimization) -> Iterator[None]:
    """Turn an error about too little memory, of the device or the machine, into one that names the keys to change."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        text = str(error)
        of_library = any(words in text for words in OF_LIBRARIES)
        if isinstance(error, RuntimeError) and not of_library and not any(words in text for words in KNOWN):
            raise
        cause = f". The library reported: {reason(error)}" if of_library else ""
        at_once, side = options.batch_size // options.gradient_accumulation, options.patch_sizes[-1]
        raise SrganError(
            f"out of memory with {at_once} patches of {side}x{side} at a time: in params.yaml raise gradient_accumulation (is "
            f"{options.gradient_accumulation}), or lower batch_size or patch_size. If it happens in a validation, "
            f"leave the largest images out of the data{cause}"
        ) from error
