"""The HTTP service of `srgan serve`."""
