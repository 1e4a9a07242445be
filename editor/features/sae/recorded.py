"""Rows to train on: a store of recorded activations, or any safetensors file of rows; split by image, never by position."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from editor.errors import FeatureError
from editor.features.activations import ActivationStore
from editor.features.sae.metrics import reconstruction
from editor.features.sae.model import SparseAutoencoder


@dataclass(frozen=True)
class Recorded:
    """Rows, how many of them belong to one image, and what they are."""

    rows: Tensor
    per_item: int
    about: dict[str, Any]


def recorded(path: Path) -> Recorded:
    """Read either form.

    Raises:
        FeatureError: it is neither.
    """
    if path.is_dir():
        store = ActivationStore(path)
        manifest = store.manifest
        about = {"module": manifest.module, "timestep": manifest.timestep, "recording": manifest.about}
        return Recorded(store.rows(), manifest.per_item, about)
    try:
        with safe_open(path, "pt") as file:
            return Recorded(file.get_tensor("rows"), 1, {"module": path.stem})
    except (OSError, SafetensorError) as error:
        raise FeatureError(
            f"{path.name} holds no rows.", field="recording", remedy="It is a safetensors file with a tensor `rows`."
        ) from error


def split(found: Recorded, share: float, seed: int) -> Tensor:
    """``(rows,)`` bool: the rows of the images that are held out."""
    items = len(found.rows) // found.per_item
    order = torch.randperm(items, generator=torch.Generator().manual_seed(seed))
    out = torch.zeros(items, dtype=torch.bool)
    out[order[: max(1, round(share * items))]] = True
    return out.repeat_interleave(found.per_item)


def measured(sae: SparseAutoencoder, found: Recorded, held_out: Tensor) -> dict[str, float]:
    """Held-out figures, without each latent's density."""
    figures = asdict(reconstruction(sae, found.rows[held_out]))
    del figures["density"]
    return figures
