"""Loads the sparse autoencoders of the embedded model's UNet."""

from functools import cache

from editor import emoji
from editor.features.sae.model import SparseAutoencoder, load_sae

UNET_SAE_FOLDER = emoji.FEATURES / "unet_sae"
BLOCK_TIMESTEPS = (("mid_block", 25), ("up_blocks.0", 25))
"""Block and timestep of each autoencoder: where objects and styles are read best (docs/how-to/diffusion-features.md)."""


@cache
def unet_sae(module: str) -> SparseAutoencoder:
    """Load the autoencoder of ``module``, ``mid_block`` or ``up_blocks.0``; cached."""
    return load_sae(UNET_SAE_FOLDER / module)
