"""Export the edit as a LoRA. It is exact, because the update has low rank by construction.

There are two files, because loaders use two naming schemes for the same factors:

- ``lora.safetensors``, for ``load_lora_weights`` and the common user interfaces: kohya's names
  (``lora_te1_<module path>.lora_up.weight``). For Stable Diffusion 3, and for FLUX's transformer, it has diffusers' names,
  because diffusers' loader ignores kohya's there.
- ``lora_peft.safetensors``, diffusers' and PEFT's names (``text_encoder.<module>.lora_B.weight``, ``unet.<module>...``).

The names follow diffusers 0.42 (``loaders/lora_conversion_utils.py``) and ComfyUI (``comfy/lora.py``).
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import pad

from editor.checkpoints.tensor_update import TensorUpdate
from editor.io.atomic import write_bytes

LORA, LORA_PEFT = "lora.safetensors", "lora_peft.safetensors"
KOHYA_PREFIXES = {
    "stable-diffusion-1": {"text_encoder": "lora_te", "unet": "lora_unet"},
    "stable-diffusion-2": {"text_encoder": "lora_te", "unet": "lora_unet"},
    "sdxl": {"text_encoder": "lora_te1", "text_encoder_2": "lora_te2", "unet": "lora_unet"},
    "flux": {"text_encoder": "lora_te1"},
    "clip": {"text_encoder": "lora_te"},
}
"""Kohya's prefixes of components, by family. Families that diffusers reads with PEFT's names only are absent."""
LOADER_NOTES = {
    "pixart": "diffusers has no `load_lora_weights` for this family: load the full weights there. The LoRA is for PEFT and "
    "ComfyUI."
}
"""What to know before loading a LoRA, by family."""
KOHYA_MODULES = {"add_embedding.linear_1": "label_emb_0_0"}
"""Modules that kohya names as the original files do, by their names in diffusers."""


def reason_against_lora(updates: Sequence[TensorUpdate]) -> str | None:
    """Return why a LoRA is not worthwhile: its factors would be as large as the tensor. None if it is."""
    for update in updates:
        rank, smaller = len(update.down), min(update.base.shape)
        if 2 * rank >= smaller:
            return (
                f"There is no LoRA: the edit of {update.name} has rank {rank}, so its factors would be as large as the tensor "
                f"({' x '.join(map(str, update.base.shape))}). Use the delta."
            )
    return None


def write_loras(updates: Sequence[TensorUpdate], family: str, folder: Path) -> list[str]:
    """Write both files and return their names. The same updates give the same bytes."""
    files = {LORA: lora_tensors(updates, family), LORA_PEFT: peft_tensors(updates)}
    for name, tensors in files.items():
        write_bytes(folder / name, save(tensors, metadata={"format": "pt"}))
    return list(files)


def lora_tensors(updates: Sequence[TensorUpdate], family: str) -> dict[str, Tensor]:
    """Return the tensors under the names that the family's loaders read."""
    prefixes = KOHYA_PREFIXES.get(family, {})
    known = {update.component for update in updates} <= prefixes.keys()
    return kohya_tensors(updates, prefixes) if known else peft_tensors(updates)


def kohya_tensors(updates: Sequence[TensorUpdate], prefixes: dict[str, str]) -> dict[str, Tensor]:
    """Return kohya's layout. Loaders scale by ``alpha / rank``; alpha is explicit, so that no default applies."""
    tensors: dict[str, Tensor] = {}
    for update in updates:
        name = module_name(update)
        module = f"{prefixes[update.component]}_{KOHYA_MODULES.get(name, name.replace('.', '_'))}"
        up, down = padded_factors(update, updates)
        tensors |= {f"{module}.lora_up.weight": up, f"{module}.lora_down.weight": down}
        tensors[f"{module}.alpha"] = torch.tensor(float(len(down)))
    return tensors


def peft_tensors(updates: Sequence[TensorUpdate]) -> dict[str, Tensor]:
    """Return PEFT's layout. It has no alpha: loaders use the rank, so the scale is 1."""
    tensors: dict[str, Tensor] = {}
    for update in updates:
        up, down = padded_factors(update, updates)
        module = f"{update.component}.{module_name(update)}"
        tensors |= {f"{module}.lora_B.weight": up, f"{module}.lora_A.weight": down}
    return tensors


def module_name(update: TensorUpdate) -> str:
    """Return the name of the module whose weight changes."""
    return update.name.removesuffix(".weight")


def padded_factors(update: TensorUpdate, updates: Sequence[TensorUpdate]) -> tuple[Tensor, Tensor]:
    """Return ``up`` (out, rank) and ``down`` (rank, in) in float32, which suffices: the update is small relative to the weight.

    They are padded with zeros to one rank per component: diffusers uses the most common alpha of a text encoder for all of its
    modules, so modules of different ranks would be scaled wrongly.
    """
    rank = max(len(other.down) for other in updates if other.component == update.component)
    missing = rank - len(update.down)
    return pad(update.up.float(), (0, missing)).contiguous(), pad(update.down.float(), (0, 0, 0, missing)).contiguous()
