"""The image quality metrics."""
