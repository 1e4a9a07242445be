"""Where each file layout keeps the tensors of a CLIP text encoder: tables from canonical to stored names.

Canonical names are transformers' with ``text_model.`` in front. OpenCLIP's layout (https://github.com/mlfoundations/open_clip,
``src/open_clip/transformer.py``) fuses the projections of queries, keys and values by rows, and stores the text projection
for multiplication from the right, that is transposed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Literal

Family = Literal["stable-diffusion-1", "stable-diffusion-2", "sdxl", "sd3", "flux", "clip"]
Component = Literal["text_encoder", "text_encoder_2"]

PREFIX = "text_model."
"""transformers 5 writes a ``CLIPTextModel`` without this prefix, older versions and other classes with it."""
OUT_PROJ = "text_model.encoder.layers.{layer}.self_attn.out_proj.weight"
"""Canonical name of an attention output projection."""
TOKENS = "text_model.embeddings.token_embedding.weight"
POSITIONS = "text_model.embeddings.position_embedding.weight"
PROJECTION = "text_projection.weight"
FIRST_LAYER = "text_model.encoder.layers.0."


@dataclass(frozen=True)
class StoredTensor:
    """A tensor's name in a file; ``third`` is its share of the rows of a fused tensor."""

    name: str
    third: int | None = None
    transposed: bool = False


TOP_LEVEL_NAMES = (
    "embeddings.token_embedding.weight",
    "embeddings.position_embedding.weight",
    "final_layer_norm.weight",
    "final_layer_norm.bias",
)
LAYER_MODULES = (
    "layer_norm1",
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.out_proj",
    "layer_norm2",
    "mlp.fc1",
    "mlp.fc2",
)
LAYER_NAMES = tuple(f"{module}.{kind}" for module in LAYER_MODULES for kind in ("weight", "bias"))
OPENCLIP_TOP_LEVEL = ("token_embedding.weight", "positional_embedding", "ln_final.weight", "ln_final.bias")
OPENCLIP_MODULES = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
FUSED_THIRDS = {f"self_attn.{role}_proj": third for third, role in enumerate("qkv")}


def openclip_leaf(leaf: str) -> StoredTensor:
    """OpenCLIP's name for a tensor of a layer."""
    module, kind = leaf.rsplit(".", 1)
    if module in FUSED_THIRDS:
        return StoredTensor(f"attn.in_proj_{kind}", FUSED_THIRDS[module])
    return StoredTensor(f"{OPENCLIP_MODULES[module]}.{kind}")


@dataclass(frozen=True)
class NamingScheme:
    """One way to name the tensors. ``whole`` and ``layer`` map canonical names, less ``text_model.``."""

    whole: Mapping[str, StoredTensor]
    layers: str
    layer: Mapping[str, StoredTensor]
    projection: StoredTensor

    @property
    def mark(self) -> str:
        """The tensor that the scheme is recognised by."""
        return self.whole[TOP_LEVEL_NAMES[0]].name

    def depth(self, prefix: str, stored: Mapping[str, object]) -> int:
        """How many layers a file holds."""
        mark = self.layer[LAYER_NAMES[0]].name
        return next(i for i in count() if f"{prefix}{self.layers}{i}.{mark}" not in stored)

    def names(self, prefix: str, layers: int, stored: Mapping[str, object]) -> dict[str, StoredTensor]:
        """Canonical name -> where it is, for an encoder of ``layers`` layers; the projection only where there is one."""
        found = {PREFIX + name: with_prefix(prefix, place) for name, place in self.whole.items()}
        for index in range(layers):
            inner, outer = f"{PREFIX}encoder.layers.{index}.", f"{prefix}{self.layers}{index}."
            found |= {inner + leaf: with_prefix(outer, place) for leaf, place in self.layer.items()}
        if prefix + self.projection.name in stored:
            found[PROJECTION] = with_prefix(prefix, self.projection)
        return found


def with_prefix(prefix: str, place: StoredTensor) -> StoredTensor:
    """The same, behind a prefix."""
    return StoredTensor(prefix + place.name, place.third, place.transposed)


def transformers_scheme(stem: str) -> NamingScheme:
    """transformers' names behind a stem."""
    return NamingScheme(
        whole={name: StoredTensor(stem + name) for name in TOP_LEVEL_NAMES},
        layers=f"{stem}encoder.layers.",
        layer={leaf: StoredTensor(leaf) for leaf in LAYER_NAMES},
        projection=StoredTensor(PROJECTION),
    )


OPENCLIP = NamingScheme(
    whole=dict(zip(TOP_LEVEL_NAMES, map(StoredTensor, OPENCLIP_TOP_LEVEL), strict=True)),
    layers="transformer.resblocks.",
    layer={leaf: openclip_leaf(leaf) for leaf in LAYER_NAMES},
    projection=StoredTensor("text_projection", transposed=True),
)
SCHEMES = (transformers_scheme(PREFIX), transformers_scheme(""), OPENCLIP)


@dataclass(frozen=True)
class EncoderPrefix:
    """Where a single-file checkpoint keeps one of its encoders."""

    prefix: str
    family: Family
    component: Component


ENCODER_PREFIXES = (
    EncoderPrefix("cond_stage_model.transformer.", "stable-diffusion-1", "text_encoder"),
    EncoderPrefix("cond_stage_model.model.", "stable-diffusion-2", "text_encoder"),
    EncoderPrefix("conditioner.embedders.0.transformer.", "sdxl", "text_encoder"),
    EncoderPrefix("conditioner.embedders.0.model.", "sdxl", "text_encoder_2"),  # the refiner's only one
    EncoderPrefix("conditioner.embedders.1.model.", "sdxl", "text_encoder_2"),
    EncoderPrefix("text_encoders.clip_l.transformer.", "flux", "text_encoder"),
    EncoderPrefix("text_encoders.clip_g.transformer.", "sd3", "text_encoder_2"),
    EncoderPrefix("text.", "clip", "text_encoder"),
    EncoderPrefix("", "clip", "text_encoder"),
)
"""A file's family is that of the last site found in it: SD3 has both of the last two pairs, FLUX only CLIP-L."""


def find_encoders(stored: Mapping[str, object]) -> list[tuple[EncoderPrefix, NamingScheme]]:
    """The encoders that a file holds."""
    found = [(site, scheme) for site in ENCODER_PREFIXES for scheme in SCHEMES if site.prefix + scheme.mark in stored]
    return [pair for pair in found if pair[0].prefix] or found
