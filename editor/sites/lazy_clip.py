"""A CLIP text encoder, read tensor by tensor: what enters a layer, its output projection, and the final states.

In float32, as the pipeline itself computes it; what is solved with the keys is float64.

Only what is asked for is read: for the first layer the rows of the tokens at hand, the positions and the layer's attention.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from editor.checkpoints import OUT_PROJ, TextEncoder
from editor.sites.clip_attention import Attention, Places, States, openings
from editor.sites.embedding_cache import Table

LAYER = "text_model.encoder.layers.{}."
TOKENS = "text_model.embeddings.token_embedding.weight"
POSITIONS = "text_model.embeddings.position_embedding.weight"
FINAL_NORM = "text_model.final_layer_norm."
ACTIVATIONS = {"gelu": F.gelu, "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x)}
Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class Tower:
    """The encoder with some of its output projections updated: layer -> dW."""

    source: TextEncoder
    edits: Mapping[int, Tensor] = field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    read_already: dict[str, Any] = field(default_factory=dict)
    """Parts by name, shared by a tower and its edited versions."""
    table: Table = field(default_factory=Table)
    """What enters the first layer, shared likewise."""
    rounded: "Tower | None" = None
    """Of a tower in float64 the one in float32."""

    def edited(self, edits: Mapping[int, Tensor]) -> "Tower":
        """The same encoder with other updates."""
        return replace(self, edits=dict(edits))

    def exact(self) -> "Tower":
        """The same encoder in float64."""
        return replace(self, dtype=torch.float64, read_already={}, table=Table(), rounded=self)

    def once(self, name: str, make: Callable[[], Value]) -> Value:
        """A part that is read once."""
        if name not in self.read_already:
            self.read_already[name] = make()
        part: Value = self.read_already[name]
        return part

    def linear(self, layer: int, name: str) -> tuple[Tensor, Tensor]:
        """Weight and bias of a module of a layer."""
        return self.read(layer, f"{name}.weight"), self.read(layer, f"{name}.bias")

    def read(self, layer: int, name: str) -> Tensor:
        """One tensor of a layer."""
        full = LAYER.format(layer) + name
        return self.once(full, lambda: self.source.tensor(full).to(self.dtype))

    def embedded(self, ids: Tensor) -> States:
        """``(prompts, length)`` token ids -> the state of each distinct (token, position)."""
        context = len(self.positions)
        codes, which = torch.unique(ids * context + torch.arange(ids.shape[1]), return_inverse=True)
        index = self.table.rows(codes, self.first_rows)[which]
        assert self.table.values is not None
        return States(self.table.values, index, self.table.projected)

    def first_rows(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Token and position embeddings of some (token, position), and their projections by the first attention."""
        tokens, positions = codes // len(self.positions), codes % len(self.positions)
        values = self.source.rows(TOKENS, tokens).to(self.dtype) + self.positions[positions]
        return values, self.attention(0).project(values)

    @property
    def positions(self) -> Tensor:
        """The position embeddings, (context, d)."""
        return self.once(POSITIONS, lambda: self.source.tensor(POSITIONS).to(self.dtype))

    def weight(self, layer: int) -> Tensor:
        """A layer's ``out_proj.weight``."""
        return self.once(f"weight {layer}", lambda: self.stored_weight(layer).to(self.dtype))

    def stored_weight(self, layer: int) -> Tensor:
        """The same in the dtype of the file."""
        return self.once(f"stored weight {layer}", lambda: self.source.tensor(OUT_PROJ.format(layer=layer)))

    def attention(self, layer: int) -> Attention:
        """A layer's attention."""
        return self.once(f"attention {layer}", lambda: self.read_attention(layer))

    def read_attention(self, layer: int) -> Attention:
        """Read a layer's attention; queries, keys and values side by side. What the file has in no more digits is converted."""
        if self.rounded is not None and self.source.place(OUT_PROJ.format(layer=layer)).dtype != "F64":
            return self.rounded.attention(layer).to(self.dtype)
        width = self.source.width
        weight, bias = torch.empty(3 * width, width, dtype=self.dtype), torch.empty(3 * width, dtype=self.dtype)
        for role, rows, biases in zip("qkv", weight.chunk(3), bias.chunk(3), strict=True):
            self.source.read_into(rows, LAYER.format(layer) + f"self_attn.{role}_proj.weight")
            self.source.read_into(biases, LAYER.format(layer) + f"self_attn.{role}_proj.bias")
        return Attention(self.source.heads, self.source.eps, self.linear(layer, "layer_norm1"), (weight, bias))

    def entering(self, ids: Tensor, layer: int) -> States:
        """What enters a layer, after the earlier ones with their updates; of prompts that open alike the same rows."""
        states = self.embedded(ids)
        if layer:
            first, which = openings(ids, everywhere(ids))
            for earlier in range(layer):
                stream = self.after_attention(states, earlier).flatten(0, 1)[first]
                states = States(stream + self.perceptron(stream, earlier), which.reshape(ids.shape))
        return states

    def after(self, states: States, layer: int) -> States:
        """What leaves a layer."""
        return self.with_perceptron(self.after_attention(states, layer), layer)

    def after_attention(self, states: States, layer: int) -> Tensor:
        """The residual stream between a layer's attention and its MLP, (prompts, length, d)."""
        weight = self.weight(layer)
        if layer in self.edits:
            weight = weight + self.edits[layer].to(self.dtype)
        attended = F.linear(
            self.attention(layer).everywhere(states), weight, self.read(layer, "self_attn.out_proj.bias")
        )
        return states.values[states.index] + attended

    def with_perceptron(self, middle: Tensor, layer: int) -> States:
        """What leaves a layer whose attention has been added already."""
        values = (middle + self.perceptron(middle, layer)).flatten(0, 1)
        return States(values, torch.arange(len(values)).reshape(middle.shape[:2]))

    def perceptron(self, stream: Tensor, layer: int) -> Tensor:
        """A layer's MLP, with its norm."""
        normal = F.layer_norm(stream, stream.shape[-1:], *self.linear(layer, "layer_norm2"), eps=self.source.eps)
        hidden = ACTIVATIONS[self.source.activation](F.linear(normal, *self.linear(layer, "mlp.fc1")))
        return F.linear(hidden, *self.linear(layer, "mlp.fc2"))

    def final(self, ids: Tensor) -> Tensor:
        """The last hidden states, (prompts, length, d)."""
        return self.normed(self.entering(ids, self.source.layers))

    def completed(self, middle: Tensor, layer: int) -> Tensor:
        """The last hidden states, from the stream after a layer's attention."""
        states = self.with_perceptron(middle, layer)
        for later in range(layer + 1, self.source.layers):
            states = self.after(states, later)
        return self.normed(states)

    def normed(self, states: States) -> Tensor:
        """What leaves the last layer, through the final norm, (prompts, length, d)."""
        weight, bias = (self.source.tensor(FINAL_NORM + part).to(self.dtype) for part in ("weight", "bias"))
        return F.layer_norm(states.values, states.values.shape[1:], weight, bias, eps=self.source.eps)[states.index]


def everywhere(index: Tensor) -> Places:
    """Every place of every prompt, (prompts, length)."""
    rows, positions = torch.cartesian_prod(*(torch.arange(n) for n in index.shape)).T
    return Places(rows, positions)
