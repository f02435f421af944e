"""Advice for a training that needs more memory than there is."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from srgan.config.training import Optimization
from srgan.utils.errors import SrganError


@contextmanager
def memory_advice(options: Optimization) -> Iterator[None]:
    """Turn an error about too little memory, of the device or the machine, into one that names the keys to change."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        known = ("out of memory", "can't allocate memory", "not enough memory")
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in known):
            raise
        at_once, side = options.batch_size // options.gradient_accumulation, options.patch_sizes[-1]
        raise SrganError(
            f"out of memory with {at_once} patches of {side}x{side} at a time: in params.yaml raise gradient_accumulation (is "
            f"{options.gradient_accumulation}), or lower batch_size or patch_size. If it happens in a validation, "
            "leave the largest images out of the data"
        ) from error
