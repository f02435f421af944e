"""Blind studies: people compare pictures of several models without knowing which model made which."""
