"""Tables that map the canonical tensor names of a CLIP text encoder to the names in each file layout.

Canonical names are those of transformers, with the prefix ``text_model.``. OpenCLIP's layout (https://github.com/mlfoundations/open_clip,
``src/open_clip/transformer.py``) fuses the projections of queries, keys and values by rows, and stores the text projection
for multiplication from the right, that is transposed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Literal

Family = Literal[
    "stable-diffusion-1",
    "stable-diffusion-2",
    "sdxl",
    "sd3",
    "flux",
    "chroma",
    "pixart",
    "sana",
    "lumina2",
    "qwen-image",
    "z-image",
    "clip",
]
Component = Literal["text_encoder", "text_encoder_2"]

CANONICAL_PREFIX = "text_model."
"""transformers 5 saves a ``CLIPTextModel`` without this prefix; older versions and other classes save it."""
OUT_PROJ = "text_model.encoder.layers.{layer}.self_attn.out_proj.weight"
"""Canonical name of an attention output projection."""
FC2 = "text_model.encoder.layers.{layer}.mlp.fc2.weight"
"""Canonical name of an MLP's second linear map."""
OUTPUT_PROJECTION_WEIGHT = re.compile(
    r"text_model\.encoder\.layers\.(?P<layer>\d+)\.(?P<module>self_attn\.out_proj|mlp\.fc2)\.weight"
)
TOKEN_EMBEDDING = "text_model.embeddings.token_embedding.weight"
POSITION_EMBEDDING = "text_model.embeddings.position_embedding.weight"
TEXT_PROJECTION = "text_projection.weight"
FIRST_LAYER = "text_model.encoder.layers.0."


@dataclass(frozen=True, order=True)
class OutputProjection:
    """The linear map by which a layer's self-attention, or its MLP, adds to the residual stream. They sort as they run."""

    layer: int
    of_mlp: bool = False

    @property
    def weight_name(self) -> str:
        """The canonical name of the weight."""
        return (FC2 if self.of_mlp else OUT_PROJ).format(layer=self.layer)

    @property
    def bias_name(self) -> str:
        """The canonical name of the bias."""
        return self.weight_name.removesuffix("weight") + "bias"

    @classmethod
    def from_weight_name(cls, name: str) -> "OutputProjection":
        """Return the map whose weight has a canonical name. Raises ValueError: it is another tensor's."""
        found = OUTPUT_PROJECTION_WEIGHT.fullmatch(name)
        if found is None:
            raise ValueError(f"{name} is no output projection")
        return cls(int(found["layer"]), found["module"] == "mlp.fc2")


@dataclass(frozen=True)
class StoredTensor:
    """How a file stores a tensor: under which name, and in which form."""

    name: str
    qkv_index: int | None = None
    """0, 1 or 2 if the tensor is the query, key or value third of a fused tensor's rows."""
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
QKV_INDEX = {f"self_attn.{role}_proj": index for index, role in enumerate("qkv")}


def openclip_layer_tensor(name: str) -> StoredTensor:
    """Return where OpenCLIP stores a tensor of a layer."""
    module, kind = name.rsplit(".", 1)
    if module in QKV_INDEX:
        return StoredTensor(f"attn.in_proj_{kind}", QKV_INDEX[module])
    return StoredTensor(f"{OPENCLIP_MODULES[module]}.{kind}")


@dataclass(frozen=True)
class NamingScheme:
    """How a file layout names the tensors. The keys of both mappings are canonical names without their prefix."""

    top_level: Mapping[str, StoredTensor]
    """Tensors outside of the layers."""
    layers_prefix: str
    """Prefix of a layer's tensors, without the number of the layer."""
    layer_tensors: Mapping[str, StoredTensor]
    """Tensors of one layer, by their names within the layer."""
    projection: StoredTensor

    @property
    def marker(self) -> str:
        """The name of the tensor that identifies the scheme."""
        return self.top_level[TOP_LEVEL_NAMES[0]].name

    def count_layers(self, prefix: str, stored: Mapping[str, object]) -> int:
        """Return the number of layers in a file."""
        mark = self.layer_tensors[LAYER_NAMES[0]].name
        return next(i for i in count() if f"{prefix}{self.layers_prefix}{i}.{mark}" not in stored)

    def map_names(self, prefix: str, layers: int, stored: Mapping[str, object]) -> dict[str, StoredTensor]:
        """Map the canonical names of an encoder of ``layers`` layers. The text projection is included if ``stored`` has it."""
        found = {CANONICAL_PREFIX + name: with_prefix(prefix, tensor) for name, tensor in self.top_level.items()}
        for index in range(layers):
            inner, outer = f"{CANONICAL_PREFIX}encoder.layers.{index}.", f"{prefix}{self.layers_prefix}{index}."
            found |= {inner + name: with_prefix(outer, tensor) for name, tensor in self.layer_tensors.items()}
        if prefix + self.projection.name in stored:
            found[TEXT_PROJECTION] = with_prefix(prefix, self.projection)
        return found


def with_prefix(prefix: str, tensor: StoredTensor) -> StoredTensor:
    """Return the stored tensor with a prefix before its name."""
    return StoredTensor(prefix + tensor.name, tensor.qkv_index, tensor.transposed)


def transformers_scheme(prefix: str) -> NamingScheme:
    """Return the naming scheme of transformers, with a prefix before every name."""
    return NamingScheme(
        top_level={name: StoredTensor(prefix + name) for name in TOP_LEVEL_NAMES},
        layers_prefix=f"{prefix}encoder.layers.",
        layer_tensors={name: StoredTensor(name) for name in LAYER_NAMES},
        projection=StoredTensor(TEXT_PROJECTION),
    )


OPENCLIP = NamingScheme(
    top_level=dict(zip(TOP_LEVEL_NAMES, map(StoredTensor, OPENCLIP_TOP_LEVEL), strict=True)),
    layers_prefix="transformer.resblocks.",
    layer_tensors={name: openclip_layer_tensor(name) for name in LAYER_NAMES},
    projection=StoredTensor("text_projection", transposed=True),
)
SCHEMES = (transformers_scheme(CANONICAL_PREFIX), transformers_scheme(""), OPENCLIP)


@dataclass(frozen=True)
class EncoderPrefix:
    """The prefix of an encoder's tensors in a single-file checkpoint, and what the prefix says about the model."""

    prefix: str
    family: Family
    component: Component


ENCODER_PREFIXES = (
    EncoderPrefix("cond_stage_model.transformer.", "stable-diffusion-1", "text_encoder"),
    EncoderPrefix("cond_stage_model.model.", "stable-diffusion-2", "text_encoder"),
    EncoderPrefix("conditioner.embedders.0.transformer.", "sdxl", "text_encoder"),
    EncoderPrefix("conditioner.embedders.0.model.", "sdxl", "text_encoder_2"),  # the refiner's only encoder
    EncoderPrefix("conditioner.embedders.1.model.", "sdxl", "text_encoder_2"),
    EncoderPrefix("text_encoders.clip_l.transformer.", "flux", "text_encoder"),
    EncoderPrefix("text_encoders.clip_g.transformer.", "sd3", "text_encoder_2"),
    EncoderPrefix("text.", "clip", "text_encoder"),
    EncoderPrefix("", "clip", "text_encoder"),
)
"""The last prefix found in a file decides its family: SD3 has both ``clip_l`` and ``clip_g``, FLUX only ``clip_l``."""


def find_encoders(stored: Mapping[str, object]) -> list[tuple[EncoderPrefix, NamingScheme]]:
    """Find the encoders in a file: their prefixes and naming schemes."""
    found = [
        (where, scheme) for where in ENCODER_PREFIXES for scheme in SCHEMES if where.prefix + scheme.marker in stored
    ]
    return [pair for pair in found if pair[0].prefix] or found
