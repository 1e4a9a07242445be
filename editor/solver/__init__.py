"""Least squares on any linear map: normal equations, subspaces, the search for the preservation weight, exact sums."""
