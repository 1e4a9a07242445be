"""Loads the sparse autoencoder of the embedded judge's image embeddings."""

from functools import cache

from editor import emoji
from editor.features.sae.model import SparseAutoencoder, load_sae

CLIP_SAE_FOLDER = emoji.FEATURES / "clip_sae"


@cache
def clip_sae() -> SparseAutoencoder:
    """Load the autoencoder; cached."""
    return load_sae(CLIP_SAE_FOLDER)
