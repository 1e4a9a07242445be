"""What the cards of both autoencoders tell of labels and seeds, and how it reads."""

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
"""Of the sparse probing curve: what the card shows."""


def agreement(found: ReconstructionMetrics, saes: Sequence[SparseAutoencoder]) -> dict[str, float]:
    """Of the first autoencoder's living latents with other seeds' latents."""
    first, *others = (sae.decoder.detach() for sae in saes)
    alive = torch.tensor(found.density) > 0
    share = stable_share(first, others)[alive] >= 2 / 3
    return {
        "mean_cosine": float(stability(first, others)[alive].mean()),
        "found_by_two_thirds": float(share.double().mean()),
    }


def absorbed(codes: Tensor, objects: Sequence[str], train: Tensor) -> dict[str, float]:
    """Means over objects, those of the same group being siblings."""
    found = absorption(codes, objects, OBJECT_GROUPS, train).values()
    each = ((one.jaccard, one.f1_one, one.f1_few) for one in found)
    return dict(zip(("jaccard", "f1_one", "f1_few"), map(fmean, zip(*each, strict=True)), strict=True))


def concept_cells(found: dict[str, Any]) -> str:
    """AUC of one latent and of the probe; the probe's accuracy on rows and reconstructions; the sparse probe's."""
    kept, sparse = found["preserved"], {int(size): value for size, value in found["sparse_probing"]["accuracy"].items()}
    few = (f"{sparse[size]:.2f}" for size in SPARSE_SIZES)
    shares = (f"{value:.3f}" for value in (kept["accuracy"], kept["rebuilt"]))
    aucs = (interval(Estimate(**found[name])) for name in ("auc", "probe_auc"))
    return " | ".join((*aucs, *shares, f"{kept['loss_recovered']:.0%}", *few, f"{found['sparse_probing']['area']:.2f}"))


def interval(found: Estimate) -> str:
    """A figure with its interval."""
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
