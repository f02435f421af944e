"""Estimate the memory, time and disk space of a training."""
