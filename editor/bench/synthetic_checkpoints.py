"""Checkpoints of real geometry with random weights, complete or with only the tensors that an edit reads."""

import json
import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from zlib import crc32

import torch
from torch import Tensor

from editor.checkpoints.key_mapping import (
    CANONICAL_PREFIX,
    FIRST_LAYER,
    OPENCLIP,
    POSITION_EMBEDDING,
    SCHEMES,
    TEXT_PROJECTION,
    TOKEN_EMBEDDING,
    NamingScheme,
)
from editor.checkpoints.safetensors_header import LENGTH_BYTES
from editor.checkpoints.tensor_reader import DTYPES
from editor.io.digests import tensor_bytes

TRANSFORMERS = SCHEMES[0]
VOCABULARY, CONTEXT = 49408, 77
BACKBONE_TENSORS = 2000
"""Number of tensors in SDXL's UNet and autoencoder."""


@dataclass(frozen=True)
class EncoderLayout:
    """Geometry of an encoder, and how a file names and stores its tensors."""

    prefix: str
    scheme: NamingScheme
    layers: int
    width: int
    dtype: str

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Return the stored shape of each tensor by its stored name."""
        names = self.scheme.map_names(self.prefix, self.layers, {self.prefix + "text_projection": None})
        shapes = {name: self.canonical_shape(name) for name in names}
        return {
            stored.name: (3 * shapes[name][0], *shapes[name][1:]) if stored.qkv_index is not None else shapes[name]
            for name, stored in names.items()
        }

    def canonical_shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor by its canonical name."""
        width, leaf = self.width, name.removeprefix(CANONICAL_PREFIX)
        special = {
            TOKEN_EMBEDDING: (VOCABULARY, width),
            POSITION_EMBEDDING: (CONTEXT, width),
            TEXT_PROJECTION: (width, width),
        }
        if name in special:
            return special[name]
        sides = (4 * width if ".fc1." in leaf else width, 4 * width if ".fc2." in leaf else width)
        return sides if leaf.endswith("weight") and "norm" not in leaf else sides[:1]

    def tensors_read(self) -> set[str]:
        """Return the stored names of the tensors that an edit may read."""
        names = self.scheme.map_names(self.prefix, self.layers, {})
        return {
            place.name
            for name, place in names.items()
            if name.startswith((TOKEN_EMBEDDING, POSITION_EMBEDDING, FIRST_LAYER))
        }


SD1 = EncoderLayout("cond_stage_model.transformer.", TRANSFORMERS, 12, 768, "F32")
SDXL = (
    EncoderLayout("conditioner.embedders.0.transformer.", TRANSFORMERS, 12, 768, "F16"),
    EncoderLayout("conditioner.embedders.1.model.", OPENCLIP, 32, 1280, "F16"),
)
CONFIG = {
    "architectures": ["CLIPTextModel"],
    "model_type": "clip_text_model",
    "hidden_size": SD1.width,
    "intermediate_size": 4 * SD1.width,
    "num_attention_heads": 12,
    "num_hidden_layers": SD1.layers,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": CONTEXT,
    "hidden_act": "quick_gelu",
    "bos_token_id": VOCABULARY - 2,
    "eos_token_id": VOCABULARY - 1,
    "pad_token_id": VOCABULARY - 1,
}


def write_folder(root: Path, layers: int = SD1.layers) -> Path:
    """Write Stable Diffusion 1.5's text encoder in a diffusers folder, 492 MB of random weights; return the weights file."""
    folder = root / "text_encoder"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | {"num_hidden_layers": layers}))
    shape = EncoderLayout("", TRANSFORMERS, layers, SD1.width, SD1.dtype)
    file = folder / "model.safetensors"
    write_file(file, {name: (shape.dtype, size) for name, size in shape.tensors().items()}, shape.tensors().keys())
    return file


def write_single_file(path: Path, shapes: tuple[EncoderLayout, ...], size: int = 0) -> Path:
    """Write a single file with encoders and a backbone of ``size`` bytes in all; tensors that no edit reads are holes."""
    tensors = {name: (shape.dtype, dims) for shape in shapes for name, dims in shape.tensors().items()}
    taken = sum(math.prod(dims) * DTYPES[dtype].itemsize for dtype, dims in tensors.values())
    filler = max(0, size - taken) // (BACKBONE_TENSORS * 2)
    backbone = {
        f"model.diffusion_model.{i}.weight": ("F16", (filler,)) for i in range(BACKBONE_TENSORS if filler else 0)
    }
    write_file(path, backbone | tensors, {name for shape in shapes for name in shape.tensors_read()})
    return path


def write_file(path: Path, tensors: Mapping[str, tuple[str, tuple[int, ...]]], filled: Collection[str]) -> None:
    """Write a safetensors file; tensors that are not ``filled`` are holes and take no disk space."""
    offsets = list(
        accumulate((math.prod(dims) * DTYPES[dtype].itemsize for dtype, dims in tensors.values()), initial=0)
    )
    header = {
        name: {"dtype": dtype, "shape": dims, "data_offsets": span}
        for (name, (dtype, dims)), span in zip(tensors.items(), pairwise(offsets), strict=True)
    }
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(LENGTH_BYTES, "little") + text)
        origin = file.tell()
        for (name, (dtype, dims)), offset in zip(tensors.items(), offsets, strict=False):
            if name in filled:
                file.seek(origin + offset)
                file.write(tensor_bytes(random_tensor(name, dims).to(DTYPES[dtype])))
        file.truncate(origin + offsets[-1])
        file.flush()
        os.fsync(file.fileno())


def random_tensor(name: str, dims: tuple[int, ...]) -> Tensor:
    """Return weights as in an untrained CLIP: norms near one, matrices that preserve the scale of their input."""
    values = torch.randn(dims, generator=torch.Generator().manual_seed(crc32(name.encode())))
    if len(dims) == 1:
        return 0.02 * values + ("norm" in name or "ln_" in name) * name.endswith("weight")
    return values * (0.02 if dims[0] in (VOCABULARY, CONTEXT) else dims[1] ** -0.5)
