"""What is left of images that should not have changed: same prompt, same seed, before and after."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from api_schemas.judging import Drift, Estimate, Preservation
from editor.generation.config import Image, ImageSpec
from editor.judging.judge import Judge
from editor.stats.intervals import critical_value, estimate_mean

MIN_DISTRIBUTION_IMAGES = 100
"""Images on either side below which a distance between distributions says nothing."""
JACKKNIFE_RESAMPLES = 200
CMMD_BANDWIDTH = 10.0
"""Of CMMD's Gaussian kernel on unit embeddings (Jayasumana et al. 2024); its values are given times 1000."""
SSIM_WINDOW, SSIM_SIGMA, SSIM_CONSTANTS = 11, 1.5, (0.01**2, 0.03**2)
"""SSIM's Gaussian window in pixels, and its two constants for a range of 1 (Wang et al. 2004)."""


def measure_preservation(
    judge: Judge,
    before: Mapping[ImageSpec, Image],
    after: Mapping[ImageSpec, Image],
    shots: Sequence[ImageSpec],
    confidence: float,
    drift: Drift | None = None,
) -> Preservation:
    """All distances over some shots. Figures of pairs are averaged over seeds, and rest on prompts."""
    pairs = [before[shot] for shot in shots], [after[shot] for shot in shots]
    seen = [judge.embed_images(images).double() for images in pairs]
    many = len(shots) >= MIN_DISTRIBUTION_IMAGES
    return Preservation(
        judge=judge.short_id,
        images=len(shots),
        ssim=estimate_mean(mean_by_prompt(ssim(*pairs), shots), confidence),
        distance=estimate_mean(mean_by_prompt(perceptual_distance(judge, *pairs), shots), confidence),
        kid=estimate_mmd(seen[0], seen[1], cubic_kernel, 1.0, confidence) if many else None,
        cmmd=estimate_mmd(seen[0], seen[1], gaussian_kernel, 1000.0, confidence) if many else None,
        drift=drift,
    )


def mean_by_prompt(values: Tensor, shots: Sequence[ImageSpec]) -> list[float]:
    """Means over the seeds of each prompt."""
    found: dict[str, list[float]] = {}
    for shot, value in zip(shots, values.tolist(), strict=True):
        found.setdefault(shot.prompt, []).append(value)
    return [float(np.mean(some)) for some in found.values()]


def to_unit_range(images: Sequence[Image]) -> Tensor:
    """``(n, 3, height, width)`` from 0 to 1, float64."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).double() / 255


def ssim(first: Sequence[Image], second: Sequence[Image]) -> Tensor:
    """Mean structural similarity of each pair, ``(n,)``, of the channels' means (Wang et al. 2004)."""
    places = torch.arange(SSIM_WINDOW).double() - SSIM_WINDOW // 2
    bell = torch.exp(-(places**2) / (2 * SSIM_SIGMA**2))
    bell /= bell.sum()

    def blur(pixels: Tensor) -> Tensor:
        rows = pixels.unfold(3, SSIM_WINDOW, 1) @ bell
        return rows.unfold(2, SSIM_WINDOW, 1) @ bell

    x, y = to_unit_range(first), to_unit_range(second)
    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y, cov = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2, blur(x * y) - mean_x * mean_y
    light = (2 * mean_x * mean_y + SSIM_CONSTANTS[0]) / (mean_x**2 + mean_y**2 + SSIM_CONSTANTS[0])
    structure = (2 * cov + SSIM_CONSTANTS[1]) / (var_x + var_y + SSIM_CONSTANTS[1])
    return (light * structure).mean((1, 2, 3))


def perceptual_distance(judge: Judge, first: Sequence[Image], second: Sequence[Image]) -> Tensor:
    """Perceptual distance of each pair, ``(n,)``: LPIPS (Zhang et al. 2018) without learned weights, on the judge.

    In every layer of the vision tower each patch's feature vector is brought to unit length; squared distances are averaged
    over patches and summed over layers.
    """
    layers = zip(judge.patch_features(first), judge.patch_features(second), strict=True)
    return torch.stack([(a - b).square().sum(2).mean(1) for a, b in layers]).sum(0)


def cubic_kernel(first: Tensor, second: Tensor) -> Tensor:
    """KID's kernel (Binkowski et al. 2018), on features of unit mean square."""
    return (first @ second.T + 1) ** 3


def gaussian_kernel(first: Tensor, second: Tensor) -> Tensor:
    """CMMD's kernel."""
    return torch.exp(-torch.cdist(first, second).square() / (2 * CMMD_BANDWIDTH**2))


def unbiased_mmd(first: Tensor, second: Tensor, between: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy of kernel matrices ``(n, n)`` (Gretton et al. 2012, eq. 4); can be below 0.

    The i-th images of both sides have a prompt and a seed in common, so no image is compared with its own pair either.
    """
    n = len(first)
    joint = first + second - between - between.T
    return float((joint.sum() - joint.trace()) / (n * (n - 1)))


def estimate_mmd(
    first: Tensor, second: Tensor, kernel: Callable[[Tensor, Tensor], Tensor], scale: float, confidence: float
) -> Estimate:
    """MMD between ``(n, d)`` and ``(n, d)``; the interval's width from random halves of the pairs (delete-half jackknife)."""
    n, kernels = len(first), (kernel(first, first), kernel(second, second), kernel(first, second))
    rng, found = np.random.default_rng(0), list[float]()
    for _ in range(JACKKNIFE_RESAMPLES):
        half = torch.from_numpy(rng.permutation(n)[: n // 2])
        found.append(unbiased_mmd(*(matrix[half][:, half] for matrix in kernels)))
    reach = critical_value(confidence) * float(np.std(found))
    value = unbiased_mmd(*kernels)
    return Estimate(value=scale * value, low=scale * (value - reach), high=scale * (value + reach), n=n)
