"""A CLIP text encoder that reads its checkpoint tensor by tensor, on demand.

It computes in float32, as the pipeline does; the solver converts keys to float64. For the first layer it reads only the
embeddings of the tokens at hand, the position embeddings and the layer's attention.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from editor.checkpoints import OUT_PROJ, OutputProjection, TextEncoder
from editor.io.progress import check_canceled
from editor.sites.clip_attention import CLIPAttention, HiddenStates, TokenPositions, unique_prefixes
from editor.sites.clip_mlp import CLIPMLP
from editor.sites.embedding_cache import EmbeddingCache
from editor.sites.final_states import EncoderUpdates
from editor.sites.states_cache import StatesCache

LAYER_PREFIX = "text_model.encoder.layers.{}."
TOKEN_EMBEDDING = "text_model.embeddings.token_embedding.weight"
POSITION_EMBEDDING = "text_model.embeddings.position_embedding.weight"
FINAL_NORM_PREFIX = "text_model.final_layer_norm."
Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class LazyCLIPTextModel:
    """A CLIP text encoder, optionally with updates added to output projections of its layers."""

    source: TextEncoder
    updates: EncoderUpdates = field(default_factory=dict)
    """dW of each edited map."""
    dtype: torch.dtype = torch.float32
    tensors: dict[str, Any] = field(default_factory=dict)
    """Parameters read so far, shared with the models that :meth:`with_updates` returns."""
    embeddings: EmbeddingCache = field(default_factory=EmbeddingCache)
    """The first layer's input, shared with them too."""
    states: StatesCache = field(default_factory=StatesCache)
    """The input of later layers for prompts that were asked for, shared with them too."""
    float32_model: "LazyCLIPTextModel | None" = None
    """The float32 model that a float64 one was made from."""

    def with_updates(self, updates: EncoderUpdates) -> "LazyCLIPTextModel":
        """Return the encoder with other updates."""
        return replace(self, updates=dict(updates))

    def in_float64(self) -> "LazyCLIPTextModel":
        """Return the encoder computed in float64."""
        return replace(self, dtype=torch.float64, tensors={}, embeddings=EmbeddingCache(), float32_model=self)

    def embed(self, ids: Tensor) -> HiddenStates:
        """Return the first layer's input for token ids (prompts, length)."""
        context_length = len(self.position_embeddings)
        codes, index = torch.unique(ids * context_length + torch.arange(ids.shape[1]), return_inverse=True)
        rows = self.embeddings.get_rows(codes, self._embed_codes)[index]
        assert self.embeddings.hidden is not None
        return HiddenStates(self.embeddings.hidden, rows, self.embeddings.qkv)

    def hidden_states_before(self, ids: Tensor, layer: int) -> HiddenStates:
        """Return the input of a layer for token ids (prompts, length). Prompts with a common prefix share its rows."""
        states = self.embed(ids)
        if layer:
            first, index = unique_prefixes(ids, all_positions(ids))
            for earlier in range(layer):
                stream = self.residual_after_attention(states, earlier).flatten(0, 1)[first]
                states = HiddenStates(stream + self.mlp(earlier)(stream), index.reshape(ids.shape))
        return states

    def final_states(self, ids: Tensor) -> Tensor:
        """Return the final hidden states, (prompts, length, d)."""
        return self._final_norm(self.hidden_states_before(ids, self.source.layers))

    def final_states_from(self, stream: Tensor, layer: int) -> Tensor:
        """Return the final hidden states from the residual stream after a layer's attention, (prompts, length, d)."""
        states = self._after_mlp(stream, layer)
        for later in range(layer + 1, self.source.layers):
            states = self._after_mlp(self.residual_after_attention(states, later), later)
        return self._final_norm(states)

    def residual_after_attention(self, states: HiddenStates, layer: int) -> Tensor:
        """Return the residual stream between a layer's attention and its MLP, (prompts, length, d)."""
        check_canceled()
        output_projection = self.output_projection(OutputProjection(layer))
        return states.values[states.index] + F.linear(self.attention(layer).all_keys(states), *output_projection)

    def mlp(self, layer: int) -> CLIPMLP:
        """Return a layer's MLP, with its update."""
        norm, fc1 = (self._linear(layer, module) for module in ("layer_norm2", "mlp.fc1"))
        fc2 = self.output_projection(OutputProjection(layer, of_mlp=True))
        return CLIPMLP(self.source.activation, self.source.eps, norm, fc1, fc2)

    def output_projection(self, projection: OutputProjection) -> tuple[Tensor, Tensor]:
        """Return the weight of an output projection, with its update, and the bias."""
        weight, bias = (
            self.weight(projection),
            self._get_or_read(projection.bias_name, lambda: self.source.tensor(projection.bias_name).to(self.dtype)),
        )
        update = self.updates.get(projection)
        return weight if update is None else weight + update.to(self.dtype), bias

    def attention(self, layer: int) -> CLIPAttention:
        """Return a layer's attention."""
        return self._get_or_read(f"attention {layer}", lambda: self._read_attention(layer))

    def weight(self, projection: OutputProjection) -> Tensor:
        """Return the original weight of an output projection."""
        return self._get_or_read(projection.weight_name, lambda: self.stored_weight(projection).to(self.dtype))

    def float64_weight(self, projection: OutputProjection) -> Tensor:
        """Return the original weight of an output projection in float64."""
        return self._get_or_read(f"float64 {projection.weight_name}", lambda: self.weight(projection).double())

    def stored_weight(self, projection: OutputProjection) -> Tensor:
        """Return the weight of an output projection in the dtype of the file."""
        name = projection.weight_name
        return self._get_or_read(f"stored {name}", lambda: self.source.tensor(name))

    def layer_tensor(self, layer: int, name: str) -> Tensor:
        """Return a tensor of a layer by its name within the layer."""
        full_name = LAYER_PREFIX.format(layer) + name
        return self._get_or_read(full_name, lambda: self.source.tensor(full_name).to(self.dtype))

    @property
    def position_embeddings(self) -> Tensor:
        """The position embeddings, (context, d)."""
        return self._get_or_read(POSITION_EMBEDDING, lambda: self.source.tensor(POSITION_EMBEDDING).to(self.dtype))

    def _get_or_read(self, name: str, read: Callable[[], Value]) -> Value:
        if name not in self.tensors:
            self.tensors[name] = read()
        value: Value = self.tensors[name]
        return value

    def _linear(self, layer: int, module: str) -> tuple[Tensor, Tensor]:
        """Return the weight and bias of a module of a layer."""
        return self.layer_tensor(layer, f"{module}.weight"), self.layer_tensor(layer, f"{module}.bias")

    def _embed_codes(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embeddings of (token, position) codes, and their projections by the first layer's attention."""
        tokens, positions = codes // len(self.position_embeddings), codes % len(self.position_embeddings)
        hidden = self.source.read_rows(TOKEN_EMBEDDING, tokens).to(self.dtype) + self.position_embeddings[positions]
        return hidden, self.attention(0).project(hidden)

    def _read_attention(self, layer: int) -> CLIPAttention:
        """Read a layer's attention, or convert that of the float32 model if the file has no more digits."""
        if self.float32_model is not None and self.source.locate(OUT_PROJ.format(layer=layer)).dtype != "F64":
            return self.float32_model.attention(layer).to(self.dtype)
        width = self.source.width
        weight, bias = torch.empty(3 * width, width, dtype=self.dtype), torch.empty(3 * width, dtype=self.dtype)
        for role, rows, biases in zip("qkv", weight.chunk(3), bias.chunk(3), strict=True):
            self.source.read_into(rows, LAYER_PREFIX.format(layer) + f"self_attn.{role}_proj.weight")
            self.source.read_into(biases, LAYER_PREFIX.format(layer) + f"self_attn.{role}_proj.bias")
        return CLIPAttention(self.source.heads, self.source.eps, self._linear(layer, "layer_norm1"), (weight, bias))

    def _after_mlp(self, stream: Tensor, layer: int) -> HiddenStates:
        """Return the output of a layer from the residual stream after its attention."""
        values = (stream + self.mlp(layer)(stream)).flatten(0, 1)
        return HiddenStates(values, torch.arange(len(values)).reshape(stream.shape[:2]))

    def _final_norm(self, states: HiddenStates) -> Tensor:
        """Apply the final layer norm, (prompts, length, d)."""
        weight, bias = (self.source.tensor(FINAL_NORM_PREFIX + part).to(self.dtype) for part in ("weight", "bias"))
        return F.layer_norm(states.values, states.values.shape[1:], weight, bias, eps=self.source.eps)[states.index]


def all_positions(ids: Tensor) -> TokenPositions:
    """Return every position of every prompt, (prompts, length)."""
    prompt_index, positions = torch.cartesian_prod(*(torch.arange(size) for size in ids.shape)).T
    return TokenPositions(prompt_index, positions)
