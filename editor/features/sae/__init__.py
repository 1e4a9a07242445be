"""k-sparse autoencoders: training, metrics, selection of features, exchange with other tools, a page to look at."""

from editor.features.sae.config import SaeConfig, revelio
from editor.features.sae.model import SparseAutoencoder, load_sae
from editor.features.sae.training import Trained, train_sae

__all__ = ["SaeConfig", "SparseAutoencoder", "Trained", "load_sae", "revelio", "train_sae"]
