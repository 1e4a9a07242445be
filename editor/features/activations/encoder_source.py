"""Activations without diffusion: layers of a text encoder, and image embeddings of a CLIP.

They are maps too: a prompt's tokens lie on a line, ``(b, width, 1, tokens)``; an embedding is a point, ``(b, width, 1, 1)``.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from editor.features.activations.recorder import StoreKey, module_digest
from editor.generation.config import Image


@dataclass(frozen=True)
class TextLayers:
    """The residual stream of a CLIP text encoder after some of its layers, from 0 on."""

    encoder: Any
    tokenizer: Any
    prompts: Sequence[str]
    layers: Sequence[int]
    position: Literal["tokens", "end"] = "end"
    """All positions, padding too; or the end of the text alone, which pooling would drown in padding."""

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def provenance(self) -> dict[str, Any]:
        """What the activations depend on."""
        return {
            "protocol": "text encoder",
            "model": module_digest(self.encoder),
            "layers": list(self.layers),
            "where": self.position,
            "prompts": list(self.prompts),
        }

    def maps(self, items: range) -> Mapping[StoreKey, Tensor]:
        """Of some prompts."""
        texts = [self.prompts[i] for i in items]
        ids = self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
        states = self.encoder(input_ids=ids, output_hidden_states=True).hidden_states
        return {(f"layers.{layer}", 0): self.to_maps(states[layer + 1], ids) for layer in self.layers}

    def to_maps(self, states: Tensor, ids: Tensor) -> Tensor:
        """``(b, tokens, width)`` -> ``(b, width, 1, tokens or 1)``."""
        if self.position == "tokens":
            return states.transpose(1, 2)[:, :, None]
        ends = (ids == self.tokenizer.eos_token_id).int().argmax(1)  # the first: CLIP pads with the same token
        return states[range(len(ids)), ends][:, :, None, None]


@dataclass(frozen=True)
class ImageEmbeddings:
    """Image embeddings, as a judge's ``images`` or any other encoder gives them."""

    embed: Callable[[Sequence[Image]], Tensor]
    """Images -> ``(n, width)``."""
    module: nn.Module
    """The encoder itself, for its digest."""
    images: Sequence[Image]
    name: str = "image_embedding"

    def __len__(self) -> int:
        return len(self.images)

    @property
    def provenance(self) -> dict[str, Any]:
        """What the activations depend on."""
        pictures = hashlib.sha256()
        for image in self.images:
            pictures.update(np.ascontiguousarray(image).data)
        return {
            "protocol": "image embedding",
            "model": module_digest(self.module),
            "images": pictures.hexdigest(),
        }

    def maps(self, items: range) -> Mapping[StoreKey, Tensor]:
        """Of some images."""
        with torch.no_grad():
            return {(self.name, 0): self.embed([self.images[i] for i in items])[:, :, None, None]}
