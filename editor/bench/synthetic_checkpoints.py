"""Checkpoints of real geometry with random weights, complete or with only the tensors that an edit reads."""

import json
import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Literal
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
from editor.checkpoints.prompt_tokenizer import BOS, EOS
from editor.checkpoints.safetensors_header import LENGTH_BYTES
from editor.checkpoints.tensor_reader import DTYPES
from editor.checkpoints.tokenizers import build_vocabulary, read_merges
from editor.io.digests import tensor_bytes

PIPELINES = {"sd1": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline"}
IMAGE_MODULES: tuple[Literal["unet", "vae"], ...] = ("unet", "vae")
UNETS: dict[str, dict[str, Any]] = {
    "sd1": {"sample_size": 64, "cross_attention_dim": 768},
    "sdxl": {
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
"""Configurations of the denoisers, where they differ from diffusers' defaults, which are those of Stable Diffusion 1."""
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}
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


def write_pipeline(root: Path, family: Literal["sd1", "sdxl"]) -> Path:
    """Write a diffusers folder of real geometry. The text encoders have random weights; the other modules are holes."""
    from diffusers import EulerDiscreteScheduler

    layouts = (SD1,) if family == "sd1" else SDXL
    classes = ("CLIPTextModel", "CLIPTextModelWithProjection")
    index: dict[str, object] = {"_class_name": PIPELINES[family]}
    for suffix, layout, name in zip(("", "_2"), layouts, classes, strict=False):
        write_encoder(root / f"text_encoder{suffix}", replace(layout, prefix="", scheme=TRANSFORMERS), name)
        write_clip_tokenizer(root / f"tokenizer{suffix}", "!" if suffix else EOS)
        index |= {
            f"text_encoder{suffix}": ["transformers", name],
            f"tokenizer{suffix}": ["transformers", "CLIPTokenizer"],
        }
    for kind in IMAGE_MODULES:
        index[kind] = ["diffusers", write_image_module(root / kind, kind, family)]
    EulerDiscreteScheduler().save_pretrained(root / "scheduler")
    index["scheduler"] = ["diffusers", "EulerDiscreteScheduler"]
    absent = {name: [None, None] for name in ("safety_checker", "feature_extractor")}
    (root / "model_index.json").write_text(json.dumps(index | absent))
    return root


def write_encoder(folder: Path, layout: EncoderLayout, architecture: str) -> None:
    """Write a text encoder of transformers with random weights."""
    projected = architecture.endswith("WithProjection")
    folder.mkdir(parents=True)
    size = {
        "architectures": [architecture],
        "hidden_size": layout.width,
        "intermediate_size": 4 * layout.width,
        "num_hidden_layers": layout.layers,
        "num_attention_heads": layout.width // 64,
        "projection_dim": layout.width,
        "hidden_act": "gelu" if projected else "quick_gelu",
    }
    (folder / "config.json").write_text(json.dumps(CONFIG | size))
    tensors = layout.tensors() | ({TEXT_PROJECTION: (layout.width, layout.width)} if projected else {})
    write_file(
        folder / "model.safetensors", {name: (layout.dtype, dims) for name, dims in tensors.items()}, tensors.keys()
    )


def write_clip_tokenizer(folder: Path, pad: str) -> None:
    """Write CLIP's tokenizer as the folders of Stable Diffusion have it."""
    merges = read_merges()
    special = {"bos_token": BOS, "eos_token": EOS, "unk_token": EOS, "pad_token": pad}
    settings = special | {"do_lower_case": True, "model_max_length": CONTEXT, "tokenizer_class": "CLIPTokenizer"}
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(build_vocabulary(merges)))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, merges)) + "\n")
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_image_module(folder: Path, kind: Literal["unet", "vae"], family: Literal["sd1", "sdxl"]) -> str:
    """Write a denoiser or an autoencoder of real geometry in float16, all holes, and return its class."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    with torch.device("meta"):
        module = UNet2DConditionModel(**UNETS[family]) if kind == "unet" else AutoencoderKL(**VAE)
    module.save_config(folder)
    tensors = {name: ("F16", tuple(tensor.shape)) for name, tensor in module.state_dict().items()}
    write_file(folder / "diffusion_pytorch_model.safetensors", tensors, ())
    return type(module).__name__


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
