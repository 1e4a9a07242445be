"""A diffusers folder, opened lazily: the configuration is checked, tensors are read when asked for."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from editor.errors import CheckpointError

PREFIX = "text_model."
"""transformers 5 writes a ``CLIPTextModel`` without this prefix, older versions and other classes with it."""
OUT_PROJ = "text_model.encoder.layers.{layer}.self_attn.out_proj.weight"
"""Canonical name of an attention output projection."""


@dataclass(frozen=True)
class TextEncoderFile:
    """A CLIP text encoder on disk. Tensors go by their canonical names, with ``text_model.`` in front."""

    root: Path
    folder: Path
    config: dict[str, Any]

    @property
    def file(self) -> Path:
        """The safetensors file with the weights."""
        return self.folder / "model.safetensors"

    @cached_property
    def stored_names(self) -> dict[str, str]:
        """Canonical name -> name in the file."""
        with safe_open(self.file, "pt") as tensors:
            return {name if name.startswith(PREFIX) else PREFIX + name: name for name in tensors.keys()}  # noqa: SIM118

    def stored_name(self, canonical: str) -> str:
        """The file's name for a tensor."""
        try:
            return self.stored_names[canonical]
        except KeyError:
            raise CheckpointError(
                f"{self.file} has no tensor {canonical}.",
                field="model",
                remedy="Use a CLIP text encoder saved by transformers.",
            ) from None

    def tensor(self, canonical: str) -> Tensor:
        """Read one tensor in the dtype of the file."""
        with safe_open(self.file, "pt") as tensors:
            return finite(canonical, tensors.get_tensor(self.stored_name(canonical)))

    def rows(self, canonical: str, ids: Tensor) -> Tensor:
        """Read some rows of a matrix: ``(len(ids), width)``; each distinct row once."""
        wanted, places = torch.unique(ids, return_inverse=True)
        with safe_open(self.file, "pt") as tensors:
            matrix = tensors.get_slice(self.stored_name(canonical))
            rows = torch.cat([matrix[i : i + 1] for i in wanted.tolist()])
        return finite(canonical, rows)[places]


def finite(name: str, tensor: Tensor) -> Tensor:
    """The tensor itself, refused when it holds NaN or infinity."""
    if not torch.isfinite(tensor).all():
        raise CheckpointError(
            f"{name} holds NaN or infinite values.", field="model", remedy="Use an intact checkpoint."
        )
    return tensor


def file_digest(path: Path) -> str:
    """Lower-case hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weight_files(root: Path) -> dict[str, Path]:
    """Every safetensors file of a model folder by its name relative to it."""
    return {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*.safetensors"))}


def open_text_encoder(root: Path, component: str = "text_encoder") -> TextEncoderFile:
    """Open ``root/component`` of a diffusers folder, or refuse it with the reason.

    Raises:
        CheckpointError: no such folder, no safetensors weights, not a CLIP text encoder, or an unreadable file.
    """
    folder = root / component
    config = read_json(folder / "config.json")
    if config.get("model_type") != "clip_text_model":
        raise CheckpointError(
            f"{folder} holds {config.get('model_type', 'no known model')}, not a CLIP text encoder.",
            field="model",
            remedy="Name a Stable Diffusion model in diffusers' folder layout.",
        )
    encoder = TextEncoderFile(root, folder, config)
    if not encoder.file.is_file():
        raise CheckpointError(
            f"{encoder.file} is missing.",
            field="model",
            remedy="Save the model with safe_serialization=True; pickle files are never read.",
        )
    try:
        encoder.stored_name(OUT_PROJ.format(layer=0))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{encoder.file} is not a readable safetensors file: {error}.", field="model", remedy="Fetch it again."
        ) from error
    return encoder


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file, or a typed error."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} can't be read: {error}.", field="model", remedy="Name a model in diffusers' folder layout."
        ) from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds no JSON object.", field="model", remedy="Fetch the model again.")
    return value
