"""What a trained classifier says of images: class probabilities from a backbone that may have been edited."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from editor.errors import FeatureError
from editor.features.activations.noised_source import activations_at_timestep, seeded_noise
from editor.features.diffc.model import DiffusionClassifier
from editor.generation.config import Precision

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
    """Class probabilities of images, mean over noise draws that depend on nothing but the seed and the image's number.

    Args:
        pipeline: the model whose backbone (and, with prompts, text encoder) is read.
        classifier: knows its module and timestep.
        latents: ``(n, c, h, w)`` of the images, from ``activations.noised.encode``, or final latents of a generation.
        prompts: one an image: is the concept there when asked for? None: the empty prompt, is it there when it is not?
        draws: of noise, for each image.

    Returns:
        ``(n, classes)``, float64, rows sum to one.
    """
    config, parts = classifier.config, []
    for start in range(0, len(latents), BATCH_SIZE):
        clean = latents[start : start + BATCH_SIZE]
        items, own = range(start, start + len(clean)), prompts and prompts[start : start + BATCH_SIZE]
        total = torch.zeros(len(clean), len(config.classes), dtype=torch.float64)
        for draw in range(draws):
            noise = seeded_noise(clean.shape[1:], seed * 1000 + draw, items).to(clean)
            maps = activations_at_timestep(pipeline, clean, noise, config.timestep, [config.module], own, precision)[
                config.module
            ]
            total += classifier.logits(maps).double().softmax(1).cpu()
        parts.append(total / draws)
    return torch.cat(parts)


def class_probability(classifier: DiffusionClassifier, found: Tensor, name: str) -> Tensor:
    """``(n,)`` probability that each image shows a class, of what ``probabilities`` found.

    Raises:
        FeatureError: the classifier does not know the class.
    """
    classes = classifier.config.classes
    if name not in classes:
        raise FeatureError(
            "The Diff-C classifier knows no such class.", field="concept", remedy=f"Ask for one of its {len(classes)}."
        )
    return found[:, classes.index(name)]
