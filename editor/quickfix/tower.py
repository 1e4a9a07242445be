"""A CLIP text encoder in float64, read tensor by tensor: what enters a layer, its output projection, and the final states.

Only what is asked for is read: for the first layer the rows of the tokens at hand, the positions and the layer's attention.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from editor.checkpoints import OUT_PROJ, TextEncoder
from editor.quickfix.attention import Attention, Places, States

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
    read_already: dict[str, Any] = field(default_factory=dict)
    """Parts by name, shared by a tower and its edited versions."""

    def edited(self, edits: Mapping[int, Tensor]) -> "Tower":
        """The same encoder with other updates."""
        return replace(self, edits=dict(edits))

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
        return self.source.tensor(LAYER.format(layer) + name).double()

    def embedded(self, ids: Tensor) -> States:
        """``(prompts, length)`` token ids -> the state of each distinct (token, position) of them."""
        length = ids.shape[1]
        pairs, index = torch.unique(ids * length + torch.arange(length), return_inverse=True)
        rows = self.source.rows(TOKENS, pairs // length).double()
        return States(rows + self.positions[pairs % length], index)

    @property
    def positions(self) -> Tensor:
        """The position embeddings, (context, d)."""
        return self.once(POSITIONS, lambda: self.source.tensor(POSITIONS).double())

    def weight(self, layer: int) -> Tensor:
        """A layer's ``out_proj.weight`` as in the file, in float64."""
        return self.once(f"weight {layer}", lambda: self.source.tensor(OUT_PROJ.format(layer=layer)).double())

    def attention(self, layer: int) -> Attention:
        """A layer's attention."""
        return self.once(f"attention {layer}", lambda: self.read_attention(layer))

    def read_attention(self, layer: int) -> Attention:
        """Read a layer's attention."""
        parts = [self.linear(layer, f"self_attn.{role}_proj") for role in "qkv"]
        return Attention(
            heads=self.source.heads,
            eps=self.source.eps,
            norm=self.linear(layer, "layer_norm1"),
            projections=(torch.cat([weight for weight, _ in parts]), torch.cat([bias for _, bias in parts])),
        )

    def entering(self, ids: Tensor, layer: int) -> States:
        """What enters a layer, after the earlier ones with their updates."""
        states = self.embedded(ids)
        for earlier in range(layer):
            states = self.after(states, earlier)
        return states

    def after(self, states: States, layer: int) -> States:
        """What leaves a layer."""
        stream = states.values[states.index].flatten(0, 1)
        weight = self.weight(layer) + self.edits.get(layer, 0.0)
        attended = F.linear(self.attention(layer).keys(states, everywhere(states.index)), weight)
        middle = stream + attended + self.read(layer, "self_attn.out_proj.bias")
        values = middle + self.perceptron(middle, layer)
        return States(values, torch.arange(len(values)).reshape(states.index.shape))

    def perceptron(self, stream: Tensor, layer: int) -> Tensor:
        """A layer's MLP, with its norm."""
        normal = F.layer_norm(stream, stream.shape[1:], *self.linear(layer, "layer_norm2"), eps=self.source.eps)
        hidden = ACTIVATIONS[self.source.activation](F.linear(normal, *self.linear(layer, "mlp.fc1")))
        return F.linear(hidden, *self.linear(layer, "mlp.fc2"))

    def final(self, ids: Tensor) -> Tensor:
        """The last hidden states, (prompts, length, d)."""
        states = self.entering(ids, self.source.layers)
        weight, bias = (self.source.tensor(FINAL_NORM + part).double() for part in ("weight", "bias"))
        normal = F.layer_norm(states.values, states.values.shape[1:], weight, bias, eps=self.source.eps)
        return normal[states.index]


def everywhere(index: Tensor) -> Places:
    """Every place of every prompt."""
    rows, positions = torch.cartesian_prod(*(torch.arange(n) for n in index.shape)).T
    return Places(rows, positions)
