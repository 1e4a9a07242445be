"""Features of a diffusion model: recorded activations, sparse autoencoders, and classifiers trained on them."""
