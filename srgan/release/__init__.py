"""Releases: a signed folder with a model, its scores, its lineage and all licenses."""
