"""k-sparse autoencoders: training, metrics, selection of latents, and conversion to and from other tools."""

from editor.features.sae.config import SaeConfig, revelio_config
from editor.features.sae.model import SparseAutoencoder, load_sae
from editor.features.sae.training import TrainedSae, train_sae

__all__ = ["SaeConfig", "SparseAutoencoder", "TrainedSae", "load_sae", "revelio_config", "train_sae"]
