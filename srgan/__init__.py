"""Train, score and ship image super-resolution GANs."""

__version__ = "0.1.0"
