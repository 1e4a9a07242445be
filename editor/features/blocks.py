"""The blocks of a denoiser that features are read from: one for objects and one for styles."""

from typing import Any

from torch import nn

from editor.features.activations.hooks import backbone_of
from editor.prompts.concepts import ConceptKind


def feature_modules(pipeline: Any) -> dict[ConceptKind, str]:
    """Return the usual module for objects and the one for styles.

    UNets: the middle block, and the middle attention of the first upward block that attends to the prompt. Transformers: the
    block in the middle, and the one at three quarters of the depth. Sources: Revelio (Kim et al. 2025, section 4); SAeUron
    (Cywiński and Deja 2025, section 4) and LocoGen (Basu et al. 2024) find styles one attention later than objects.
    """
    backbone = backbone_of(pipeline)
    if hasattr(backbone, "up_blocks"):
        return {"object": "mid_block", "style": first_upward_attention(backbone)}
    depth = len(backbone.transformer_blocks)  # type: ignore[arg-type]
    return {"object": f"transformer_blocks.{depth // 2}", "style": f"transformer_blocks.{3 * depth // 4}"}


def first_upward_attention(unet: nn.Module) -> str:
    """Return the middle attention of the first upward block with attentions; the first upward block if none has any."""
    for i, block in enumerate(unet.up_blocks):  # type: ignore[arg-type]
        if attentions := getattr(block, "attentions", None):
            return f"up_blocks.{i}.attentions.{len(attentions) // 2}"
    return "up_blocks.0"
