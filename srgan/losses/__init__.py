"""Losses: a file a family, and the registry of all of them."""
