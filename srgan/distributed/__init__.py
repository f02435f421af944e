"""Devices, signals and processes of a training."""
