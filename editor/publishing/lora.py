"""The edit as a LoRA: exact, for the update has low rank by construction.

Two files, for there are two ways to name the same factors:

- ``lora.safetensors``, for ``load_lora_weights`` and the common user interfaces. Kohya's names
  (``lora_te1_<module path>.lora_up.weight``), but diffusers' where its loader for the family does not know kohya's and
  would load nothing, with a warning at most: Stable Diffusion 3.
- ``lora_peft.safetensors``, diffusers' and PEFT's names (``text_encoder.<module>.lora_B.weight``).

Which names are read was taken from diffusers 0.42 (``loaders/lora_conversion_utils.py``) and ComfyUI (``comfy/lora.py``).
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import pad

from editor.io.atomic import write_bytes
from editor.methods.tensor_update import TensorUpdate

LORA, LORA_PEFT = "lora.safetensors", "lora_peft.safetensors"
KOHYA_PREFIXES = {
    "stable-diffusion-1": {"text_encoder": "lora_te"},
    "stable-diffusion-2": {"text_encoder": "lora_te"},
    "sdxl": {"text_encoder": "lora_te1", "text_encoder_2": "lora_te2"},
    "flux": {"text_encoder": "lora_te1"},
    "clip": {"text_encoder": "lora_te"},
}
"""Kohya's names for the text encoders of a family; families that diffusers reads by PEFT's names alone are absent."""


def pointless(updates: Sequence[TensorUpdate]) -> str | None:
    """Why a LoRA would not pay: the factors of a tensor are as big as the tensor. None where it does."""
    for update in updates:
        rank, smaller = len(update.down), min(update.base.shape)
        if 2 * rank >= smaller:
            return (
                f"No LoRA: the edit of {update.name} has rank {rank}, so its factors would be as big as the tensor of "
                f"{' x '.join(map(str, update.base.shape))} itself. Use the delta."
            )
    return None


def write_loras(updates: Sequence[TensorUpdate], family: str, folder: Path) -> list[str]:
    """Write both files, byte for byte the same each time; returns their names."""
    files = {LORA: lora_tensors(updates, family), LORA_PEFT: peft_tensors(updates)}
    for name, tensors in files.items():
        write_bytes(folder / name, save(tensors, metadata={"format": "pt"}))
    return list(files)


def lora_tensors(updates: Sequence[TensorUpdate], family: str) -> dict[str, Tensor]:
    """What the family's own loaders read."""
    prefixes = KOHYA_PREFIXES.get(family, {})
    known = {update.component for update in updates} <= prefixes.keys()
    return kohya_tensors(updates, prefixes) if known else peft_tensors(updates)


def kohya_tensors(updates: Sequence[TensorUpdate], prefixes: dict[str, str]) -> dict[str, Tensor]:
    """Kohya's layout. Loaders scale by ``alpha / rank``: alpha is written out, so that nobody's default changes it."""
    tensors: dict[str, Tensor] = {}
    for update in updates:
        module = f"{prefixes[update.component]}_{module_of(update).replace('.', '_')}"
        up, down = factors(update, updates)
        tensors |= {f"{module}.lora_up.weight": up, f"{module}.lora_down.weight": down}
        tensors[f"{module}.alpha"] = torch.tensor(float(len(down)))
    return tensors


def peft_tensors(updates: Sequence[TensorUpdate]) -> dict[str, Tensor]:
    """PEFT's layout. It has no alpha: loaders take the rank for it, which makes the scale 1."""
    tensors: dict[str, Tensor] = {}
    for update in updates:
        up, down = factors(update, updates)
        module = f"{update.component}.{module_of(update)}"
        tensors |= {f"{module}.lora_B.weight": up, f"{module}.lora_A.weight": down}
    return tensors


def module_of(update: TensorUpdate) -> str:
    """The module whose weight changes."""
    return update.name.removesuffix(".weight")


def factors(update: TensorUpdate, updates: Sequence[TensorUpdate]) -> tuple[Tensor, Tensor]:
    """``up`` (out, rank) and ``down`` (rank, in), float32: the update is small beside the weight that it is added to.

    Padded with zeros to one rank per component: diffusers takes the commonest alpha of a text encoder for all of its
    modules, so modules of different ranks would be scaled wrongly.
    """
    rank = max(len(other.down) for other in updates if other.component == update.component)
    missing = rank - len(update.down)
    return pad(update.up.float(), (0, missing)).contiguous(), pad(update.down.float(), (0, 0, 0, missing)).contiguous()
