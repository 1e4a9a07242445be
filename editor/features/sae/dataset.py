"""Training data of an autoencoder: a store of recorded activations, or a safetensors file of rows; split by image."""

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
    """Rows of activations with their provenance and labels."""

    rows: Tensor
    rows_per_item: int
    provenance: dict[str, Any]
    labels: Labels = field(default_factory=dict)
    """Kind -> one label per image."""
    grid: tuple[int, int] = (1, 1)
    """Height and width of a map; (1, 1) if positions were pooled."""


def load_dataset(path: Path) -> ActivationDataset:
    """Load an activation store (a folder) or a safetensors file with a tensor ``rows``.

    Raises:
        FeatureError: the path is neither.
    """
    if path.is_dir():
        store = ActivationStore(path)
        manifest = store.manifest
        provenance = {"module": manifest.module, "timestep": manifest.timestep, "recording": manifest.about}
        grid = manifest.grid if manifest.rows_per_item > 1 else (1, 1)
        return ActivationDataset(store.rows(), manifest.rows_per_item, provenance, store.item_labels, grid)
    try:
        with safe_open(path, "pt") as file:
            return ActivationDataset(require_two_dimensional(file.get_tensor("rows")), 1, {"module": path.stem})
    except (OSError, SafetensorError) as error:
        raise FeatureError(
            f"{path.name} does not contain rows of activations.",
            field="recording",
            remedy="Name a folder of recorded activations, or a safetensors file with a tensor `rows`.",
        ) from error


def require_two_dimensional(rows: Tensor) -> Tensor:
    """Return the rows.

    Raises:
        FeatureError: they are not two-dimensional.
    """
    if rows.dim() != 2:
        raise FeatureError(
            f"`rows` has {rows.dim()} dimensions.", field="recording", remedy="Its shape must be (rows, width)."
        )
    return rows


def held_out_rows(dataset: ActivationDataset, share: float, seed: int) -> Tensor:
    """Select a random share of the images to hold out, and return a mask of their rows, ``(rows,)`` bool."""
    items = len(dataset.rows) // dataset.rows_per_item
    order = torch.randperm(items, generator=torch.Generator().manual_seed(seed))
    held_out = torch.zeros(items, dtype=torch.bool)
    held_out[order[: max(1, round(share * items))]] = True
    return held_out.repeat_interleave(dataset.rows_per_item)


def evaluate_sae(sae: SparseAutoencoder, dataset: ActivationDataset, held_out: Tensor) -> dict[str, Any]:
    """Measure an autoencoder on held-out rows: reconstruction, Moran's I of its maps, and label metrics."""
    rows = dataset.rows[held_out]
    figures = asdict(reconstruction_metrics(sae, rows))
    del figures["density"]
    spatial = {"morans_i": float(mean_morans_i(sae, rows, dataset.grid).nanmean())} if dataset.rows_per_item > 1 else {}
    return {"held_out": figures, **spatial, "concepts": label_metrics(sae, dataset, held_out)}


def label_metrics(sae: SparseAutoencoder, dataset: ActivationDataset, held_out: Tensor) -> dict[str, Any]:
    """Return the concept metrics by kind of label. Kinds with too few images per label (prompts, seeds) are omitted."""
    if not dataset.labels:
        return {}
    images = encode_images(sae, dataset.rows, dataset.rows_per_item, held_out[:: dataset.rows_per_item])
    metrics = {kind: concept_metrics_if_enough(images, labels) for kind, labels in dataset.labels.items()}
    return {kind: figures for kind, figures in metrics.items() if figures}
