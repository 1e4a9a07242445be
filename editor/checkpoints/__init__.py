"""Open a base model lazily: what is where, and only the tensors that are asked for."""

from editor.checkpoints.checkpoint import Checkpoint, open_checkpoint
from editor.checkpoints.encoder import TextEncoder
from editor.checkpoints.files import file_digest, weight_files
from editor.checkpoints.names import OUT_PROJ, Family
from editor.checkpoints.second_way import SecondWay

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
