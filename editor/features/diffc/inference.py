"""Class probabilities of images, by a trained classifier on a backbone that may have been edited."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from editor.errors import FeatureError
from editor.features.activations.noised_source import activations_at_timestep, seeded_noise
from editor.features.diffc.model import DiffusionClassifier
from editor.generation.config import Precision
from editor.io.progress import checked

BATCH_SIZE = 64


@torch.no_grad()
def probabilities(
    pipeline: Any,
    classifier: DiffusionClassifier,
    latents: Tensor,
    *,
    prompts: Sequence[str] | None = None,
    draws: int = 4,
    seed: int = 0,
    precision: Precision = "float32",
) -> Tensor:
    """Return class probabilities of images, averaged over several noise samples.

    Args:
        pipeline: the model whose backbone (and, with prompts, text encoder) is evaluated.
        classifier: its configuration has the module and timestep.
        latents: ``(n, c, h, w)``, from ``activations.noised_source.encode_pixels``, or the final latents of a generation.
        prompts: one per image, to see the concept as the prompt conditions it; None: the empty prompt.
        draws: noise samples per image; they depend only on the seed and on the image's index.

    Returns:
        ``(n, classes)`` float64; rows sum to one.
    """
    config, parts = classifier.config, []
    for start in checked(range(0, len(latents), BATCH_SIZE)):
        clean = latents[start : start + BATCH_SIZE]
        items, texts = range(start, start + len(clean)), prompts and prompts[start : start + BATCH_SIZE]
        total = torch.zeros(len(clean), len(config.classes), dtype=torch.float64)
        for draw in range(draws):
            noise = seeded_noise(clean.shape[1:], seed * 1000 + draw, items).to(clean)
            maps = activations_at_timestep(pipeline, clean, noise, config.timestep, [config.module], texts, precision)
            total += classifier.logits(maps[config.module]).double().softmax(1).cpu()
        parts.append(total / draws)
    return torch.cat(parts)


def class_probability(classifier: DiffusionClassifier, class_probabilities: Tensor, name: str) -> Tensor:
    """Return the ``(n,)`` probability of one class.

    Args:
        class_probabilities: ``(n, classes)``, as returned by ``probabilities``.

    Raises:
        FeatureError: the classifier was not trained on the class.
    """
    classes = classifier.config.classes
    if name not in classes:
        raise FeatureError(
            "The Diff-C classifier was not trained on this concept.",
            field="concept",
            remedy=f"Use one of its {len(classes)} classes.",
        )
    return class_probabilities[:, classes.index(name)]
