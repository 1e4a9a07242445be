"""Diff-C scores: how often a classifier of diffusion features detects the concept before and after the edit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from api_schemas.feature_scores import DiffCScore, Place
from editor.features.diffc import DiffusionClassifier, class_probability, probabilities
from editor.stats.intervals import estimate_mean, hit_rate


def score_generated_images(
    classifier: DiffusionClassifier,
    pipelines: tuple[Any, Any],
    latents: tuple[Tensor, Tensor],
    prompts: Sequence[str],
    concept: str,
    removal: int,
    place: Place,
    *,
    prompted: bool = True,
    **reading: Any,
) -> DiffCScore:
    """Score each model's own images of the concept's prompts, read under these prompts or under the empty one.

    Args:
        pipelines: before and after the edit.
        latents: ``(n, c, h, w)`` of each model's images for ``prompts``.
        prompted: whether to read the features under the prompts; otherwise under the empty prompt.
        reading: further arguments of :func:`editor.features.diffc.probabilities`.
    """
    found = [
        probabilities(pipeline, classifier, own, prompts=prompts if prompted else None, **reading)
        for pipeline, own in zip(pipelines, latents, strict=True)
    ]
    return make_diffc_score(classifier, found, prompts, concept, removal, place, "prompt" if prompted else "image")


def score_noised_images(
    classifier: DiffusionClassifier,
    pipelines: tuple[Any, Any],
    latents: Tensor,
    prompts: Sequence[str],
    concept: str,
    removal: int,
    place: Place,
    **reading: Any,
) -> DiffCScore:
    """Score the base model's images of the concept, noised and read under the empty prompt by both models.

    It shows whether the edited model still represents the concept, although prompts no longer reach it.
    """
    found = [probabilities(pipeline, classifier, latents, **reading) for pipeline in pipelines]
    return make_diffc_score(classifier, found, prompts, concept, removal, place, "nothing")


def make_diffc_score(
    classifier: DiffusionClassifier,
    found: Sequence[Tensor],
    prompts: Sequence[str],
    concept: str,
    removal: int,
    place: Place,
    asked: Any,
) -> DiffCScore:
    """Return the record from class probabilities ``(n, classes)`` before and after; images of one prompt count as one."""
    chances = [mean_by_prompt(class_probability(classifier, side, concept), prompts) for side in found]
    likeliest = [[classifier.config.classes[i] == concept for i in side.argmax(1).tolist()] for side in found]
    return DiffCScore(
        removal=removal,
        place=place,
        asked_for=asked,
        before=estimate_mean(chances[0]),
        after=estimate_mean(chances[1]),
        found_before=hit_rate(likeliest[0]),
        found_after=hit_rate(likeliest[1]),
    )


def mean_by_prompt(values: Tensor, prompts: Sequence[str]) -> list[float]:
    """Return the mean over the rows of each prompt, in the prompts' sorted order."""
    _, place = np.unique(np.asarray(prompts), return_inverse=True)
    sums = torch.zeros(int(place.max()) + 1, dtype=torch.float64).index_add_(
        0, torch.from_numpy(place), values.double()
    )
    return (sums / torch.from_numpy(np.bincount(place))).tolist()
