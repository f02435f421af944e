"""Download data sets and weights: the catalogue, transfers, archives."""
