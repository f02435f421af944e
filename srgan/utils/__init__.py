"""Helpers that know nothing about images: errors, files, progress, processes."""
