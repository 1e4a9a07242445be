"""The embedded model: how its data and weights are made, and the weights."""
