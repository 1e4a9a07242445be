"""Rows to train on: a store of recorded activations, or any safetensors file of rows; split by image, never by position."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from editor.errors import FeatureError
from editor.features.activations import ActivationStore
from editor.features.activations.store import Labels
from editor.features.sae.concept_metrics import concept_metrics_if_enough, encode_images
from editor.features.sae.metrics import mean_morans_i, reconstruction_metrics
from editor.features.sae.model import SparseAutoencoder


@dataclass(frozen=True)
class ActivationDataset:
    """Rows, how many of them belong to one image, and what they are."""

    rows: Tensor
    rows_per_item: int
    provenance: dict[str, Any]
    labels: Labels = field(default_factory=dict)
    """Of the images, by kind."""
    grid: tuple[int, int] = (1, 1)
    """Height and width of a map; 1 where positions were not kept."""


def load_dataset(path: Path) -> ActivationDataset:
    """Read either form.

    Raises:
        FeatureError: it is neither.
    """
    if path.is_dir():
        store = ActivationStore(path)
        manifest = store.manifest
        about = {"module": manifest.module, "timestep": manifest.timestep, "recording": manifest.about}
        grid = manifest.grid if manifest.rows_per_item > 1 else (1, 1)
        return ActivationDataset(store.rows(), manifest.rows_per_item, about, store.item_labels, grid)
    try:
        with safe_open(path, "pt") as file:
            return ActivationDataset(require_two_dimensional(file.get_tensor("rows")), 1, {"module": path.stem})
    except (OSError, SafetensorError) as error:
        raise FeatureError(
            f"{path.name} holds no rows.", field="recording", remedy="It is a safetensors file with a tensor `rows`."
        ) from error


def require_two_dimensional(rows: Tensor) -> Tensor:
    """As they are.

    Raises:
        FeatureError: they are none.
    """
    if rows.dim() != 2:
        raise FeatureError(
            f"`rows` has {rows.dim()} dimensions.", field="recording", remedy="Its shape is (rows, width)."
        )
    return rows


def held_out_rows(found: ActivationDataset, share: float, seed: int) -> Tensor:
    """``(rows,)`` bool: the rows of the images that are held out."""
    items = len(found.rows) // found.rows_per_item
    order = torch.randperm(items, generator=torch.Generator().manual_seed(seed))
    out = torch.zeros(items, dtype=torch.bool)
    out[order[: max(1, round(share * items))]] = True
    return out.repeat_interleave(found.rows_per_item)


def evaluate_sae(sae: SparseAutoencoder, found: ActivationDataset, held_out: Tensor) -> dict[str, Any]:
    """Of rows that were not trained on: the error; where there are maps, Moran's I; and what labels are told by."""
    rows = found.rows[held_out]
    figures = asdict(reconstruction_metrics(sae, rows))
    del figures["density"]
    place = {"morans_i": float(mean_morans_i(sae, rows, found.grid).nanmean())} if found.rows_per_item > 1 else {}
    return {"held_out": figures, **place, "concepts": label_metrics(sae, found, held_out)}


def label_metrics(sae: SparseAutoencoder, found: ActivationDataset, held_out: Tensor) -> dict[str, Any]:
    """By kind; of kinds that hardly two images share (prompts, seeds) nothing can be said."""
    images = (
        encode_images(sae, found.rows, found.rows_per_item, held_out[:: found.rows_per_item]) if found.labels else None
    )
    kinds = {kind: concept_metrics_if_enough(images, labels) for kind, labels in found.labels.items()} if images else {}
    return {kind: figures for kind, figures in kinds.items() if figures}
