"""Features of a diffusion model: activations, sparse dictionaries of them, classifiers on them."""
