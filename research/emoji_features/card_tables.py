"""Figures and table cells that the cards of both autoencoders share. Imported, not run."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from api_schemas.report import Estimate
from editor.emoji.labelled_composites import OBJECT_GROUPS
from editor.features.sae import SparseAutoencoder
from editor.features.sae.metrics import ReconstructionMetrics, stability, stable_share
from editor.features.sae.sparse_probing import absorption

SPARSE_SIZES = (1, 10, 100)
"""Probe sizes of the sparse probing curve that the card shows."""


def seed_stability(reconstruction: ReconstructionMetrics, saes: Sequence[SparseAutoencoder]) -> dict[str, float]:
    """Compare the first autoencoder's live latents with those of other seeds."""
    first, *others = (sae.decoder.detach() for sae in saes)
    alive = torch.tensor(reconstruction.density) > 0
    share = stable_share(first, others)[alive] >= 2 / 3
    return {
        "mean_cosine": float(stability(first, others)[alive].mean()),
        "found_by_two_thirds": float(share.double().mean()),
    }


def mean_absorption(codes: Tensor, objects: Sequence[str], train: Tensor) -> dict[str, float]:
    """Return the mean absorption over objects; objects of the same group are siblings."""
    found = absorption(codes, objects, OBJECT_GROUPS, train).values()
    each = ((one.jaccard, one.f1_one, one.f1_few) for one in found)
    return dict(zip(("jaccard", "f1_one", "f1_few"), map(fmean, zip(*each, strict=True)), strict=True))


def render_concept_cells(found: dict[str, Any]) -> str:
    """Render the AUCs of one latent and of the probe, the probe's accuracies, and the sparse probe's."""
    kept, sparse = found["preserved"], {int(size): value for size, value in found["sparse_probing"]["accuracy"].items()}
    few = (f"{sparse[size]:.2f}" for size in SPARSE_SIZES)
    shares = (f"{value:.3f}" for value in (kept["accuracy"], kept["rebuilt"]))
    aucs = (render_interval(Estimate(**found[name])) for name in ("auc", "probe_auc"))
    return " | ".join((*aucs, *shares, f"{kept['loss_recovered']:.0%}", *few, f"{found['sparse_probing']['area']:.2f}"))


def render_interval(found: Estimate) -> str:
    """Render a figure with its interval."""
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
