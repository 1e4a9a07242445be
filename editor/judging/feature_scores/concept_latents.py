"""The latents of an autoencoder that detect a concept."""

from collections.abc import Sequence

import torch
from torch import Tensor

from editor.features.sae.feature_selection import d_prime
from editor.stats.auc import auc

MIN_LATENT_AUC, MAX_LATENTS = 0.7, 5
"""Smallest AUC of a concept's latents, and their largest number."""


def select_latents(scores: Tensor, labels: Sequence[str], name: str) -> list[int]:
    """Return the latents that detect a concept, best first; empty if none does.

    Args:
        scores: ``(rows, latents)`` pre-activations.
        labels: the concept of each row.
        name: the concept.
    """
    has = torch.tensor([label == name for label in labels])
    detects = auc(scores, has) >= MIN_LATENT_AUC
    order = d_prime(scores, has).argsort(descending=True, stable=True).tolist()
    return [latent for latent in order if detects[latent]][:MAX_LATENTS]
