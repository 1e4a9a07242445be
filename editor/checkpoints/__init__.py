"""Open a base model lazily: find its tensors from the file headers, and read only those that are requested."""

from editor.checkpoints.base_model import Checkpoint
from editor.checkpoints.denoiser import Denoiser
from editor.checkpoints.key_mapping import OUT_PROJ, Family, OutputProjection
from editor.checkpoints.open import open_checkpoint
from editor.checkpoints.safe_paths import model_files, weight_files
from editor.checkpoints.text_encoder import TextEncoder
from editor.checkpoints.unedited_encoders import UneditedEncoder

__all__ = [
    "OUT_PROJ",
    "Checkpoint",
    "Denoiser",
    "Family",
    "OutputProjection",
    "TextEncoder",
    "UneditedEncoder",
    "model_files",
    "open_checkpoint",
    "weight_files",
]
