"""The edit as a LoRA: exact, for the update has low rank by construction.

Named in kohya's manner (``lora_te_<module path>.lora_up.weight``), which diffusers' ``load_lora_weights`` and the
common user interfaces all read. Loaders scale by ``alpha / rank``; ``alpha`` is written out, equal to the rank, so that
nobody's default can make it anything but 1.
"""

from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from editor.publishing.atomic import write_bytes
from editor.quickfix.update import TensorUpdate


def lora_tensors(update: TensorUpdate) -> dict[str, Tensor]:
    """The file's tensors: factors in float32, for the update is small beside the weight that it is added to."""
    module = "lora_te_" + update.name.removesuffix(".weight").replace(".", "_")
    return {
        f"{module}.lora_up.weight": update.up.float().contiguous(),
        f"{module}.lora_down.weight": update.down.float().contiguous(),
        f"{module}.alpha": torch.tensor(float(len(update.down))),
    }


def write_lora(update: TensorUpdate, path: Path) -> None:
    """Write the LoRA of one updated tensor."""
    write_bytes(path, save(lora_tensors(update), metadata={"format": "pt"}))
