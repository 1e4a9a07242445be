"""Open a base model lazily: what is where, and only the tensors that are asked for."""

from editor.checkpoints.base_model import Checkpoint
from editor.checkpoints.key_mapping import OUT_PROJ, Family
from editor.checkpoints.open import open_checkpoint
from editor.checkpoints.safe_paths import file_digest, weight_files
from editor.checkpoints.text_encoder import TextEncoder
from editor.checkpoints.unedited_encoders import SecondWay

__all__ = [
    "OUT_PROJ",
    "Checkpoint",
    "Family",
    "SecondWay",
    "TextEncoder",
    "file_digest",
    "open_checkpoint",
    "weight_files",
]
