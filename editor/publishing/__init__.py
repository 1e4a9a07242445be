"""Publish an edit: delta, LoRA and full weights, the model card, the figures, and the report that goes with them."""

from editor.publishing.apply import apply_delta
from editor.publishing.delta import write_delta
from editor.publishing.figures import Pair, Picture, sample_sheet
from editor.publishing.package import publish

__all__ = ["Pair", "Picture", "apply_delta", "publish", "sample_sheet", "write_delta"]
