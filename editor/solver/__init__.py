"""Least squares on any linear map: normal equations, subspaces, preservation search, exact sums, low-rank updates."""
