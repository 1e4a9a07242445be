"""Load a text encoder as a transformers module, for tracing and validation. An edit does not need it."""

from collections.abc import Mapping
from typing import Any

import torch

from editor.checkpoints.key_mapping import CANONICAL_PREFIX, FIRST_LAYER, TEXT_PROJECTION
from editor.checkpoints.text_encoder import TextEncoder
from editor.checkpoints.tokenizers import open_tokenizer


def load_module(
    encoder: TextEncoder,
    dtype: torch.dtype = torch.float32,
    projected: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> Any:
    """Load a ``CLIPTextModel`` in evaluation mode, or a ``CLIPTextModelWithProjection`` if ``projected``.

    Args:
        changes: settings of ``CLIPTextConfig`` that a file does not show: Stable Diffusion 2 omits the last layer.
    """
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    tokenizer, has_projection = open_tokenizer(encoder), projected and TEXT_PROJECTION in encoder.locations
    settings = {
        "vocab_size": encoder.vocabulary_size,
        "hidden_size": encoder.width,
        "intermediate_size": encoder.shape(FIRST_LAYER + "mlp.fc1.bias")[0],
        "projection_dim": encoder.shape(TEXT_PROJECTION)[0] if has_projection else encoder.width,
        "num_hidden_layers": encoder.layers,
        "num_attention_heads": encoder.heads,
        "max_position_embeddings": encoder.context_length,
        "hidden_act": encoder.activation,
        "layer_norm_eps": encoder.eps,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    config = CLIPTextConfig(**settings | dict(changes or {}))
    kind = CLIPTextModelWithProjection if projected else CLIPTextModel
    with torch.device("meta"):
        names = kind(config).state_dict().keys()
    weights = {name: encoder.tensor(canonical_name(name)).to(dtype) for name in names - {TEXT_PROJECTION}}
    if projected:  # SD3's files omit the projection of CLIP-L, which is the identity
        projection = encoder.tensor(TEXT_PROJECTION) if has_projection else torch.eye(encoder.width)
        weights[TEXT_PROJECTION] = projection.to(dtype)
    return kind.from_pretrained(None, config=config, state_dict=weights, dtype=dtype).eval()


def canonical_name(name: str) -> str:
    """Return the canonical name of a tensor: some versions of transformers omit the prefix for ``CLIPTextModel``."""
    return name if name.startswith((CANONICAL_PREFIX, TEXT_PROJECTION)) else CANONICAL_PREFIX + name
