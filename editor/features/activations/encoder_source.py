"""Activations without diffusion: layers of a text encoder, and image embeddings of a CLIP model.

Both are returned as maps: the tokens of a prompt as ``(b, width, 1, tokens)``, an embedding as ``(b, width, 1, 1)``.
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
from editor.generation.module_device import execution_device
from editor.prompts.textual_inversion import expand_all


@dataclass(frozen=True)
class TextLayers:
    """An activation source: the residual stream of a CLIP text encoder after the given layers, counted from 0."""

    encoder: Any
    tokenizer: Any
    prompts: Sequence[str]
    layers: Sequence[int]
    position: Literal["tokens", "end"] = "end"
    """``tokens``: every position, padding included. ``end``: the end-of-text token only, which padding does not dilute."""

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def provenance(self) -> dict[str, Any]:
        """Everything that the activations depend on."""
        return {
            "protocol": "text encoder",
            "model": module_digest(self.encoder),
            "layers": list(self.layers),
            "where": self.position,
            "prompts": list(self.prompts),
        }

    def maps(self, items: range) -> Mapping[StoreKey, Tensor]:
        """Run the encoder on the prompts with these indices."""
        texts = expand_all([self.prompts[i] for i in items], self.tokenizer)
        ids = self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
        states = self.encoder(input_ids=ids.to(execution_device(self.encoder)), output_hidden_states=True).hidden_states
        return {(f"layers.{layer}", 0): self.to_maps(states[layer + 1], ids) for layer in self.layers}

    def to_maps(self, states: Tensor, ids: Tensor) -> Tensor:
        """Reshape ``(b, tokens, width)`` states to ``(b, width, 1, tokens or 1)``."""
        if self.position == "tokens":
            return states.transpose(1, 2)[:, :, None]
        # CLIP pads with the end-of-text token, so take its first occurrence.
        ends = (ids == self.tokenizer.eos_token_id).int().argmax(1)
        return states[range(len(ids)), ends.to(states.device)][:, :, None, None]


@dataclass(frozen=True)
class ImageEmbeddings:
    """An activation source: image embeddings by a judge or any other image encoder."""

    embed: Callable[[Sequence[Image]], Tensor]
    """Embeds images as ``(n, width)``."""
    module: nn.Module
    """The encoder, whose weights identify the recording."""
    images: Sequence[Image]
    name: str = "image_embedding"

    def __len__(self) -> int:
        return len(self.images)

    @property
    def provenance(self) -> dict[str, Any]:
        """Everything that the activations depend on."""
        digest = hashlib.sha256()
        for image in self.images:
            digest.update(np.ascontiguousarray(image).data)
        return {
            "protocol": "image embedding",
            "model": module_digest(self.module),
            "images": digest.hexdigest(),
        }

    def maps(self, items: range) -> Mapping[StoreKey, Tensor]:
        """Embed the images with these indices."""
        with torch.no_grad():
            return {(self.name, 0): self.embed([self.images[i] for i in items])[:, :, None, None]}
