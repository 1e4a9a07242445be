"""Similarity of images of retained prompts before and after the edit, at the same prompts and seeds."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from api_schemas.judging import Drift, Estimate, Preservation
from editor.generation.config import Image, ImageSpec
from editor.judging.judge import Judge
from editor.stats.intervals import critical_value, estimate_mean

MIN_DISTRIBUTION_IMAGES = 100
"""Smallest number of image pairs for which KID and CMMD are reported."""
FEATURE_BATCH = 32
"""Images whose patch features are in memory at once: a ViT-L has 25 MB of them for each image."""
JACKKNIFE_RESAMPLES = 200
CMMD_BANDWIDTH = 10.0
"""Bandwidth of CMMD's Gaussian kernel on unit embeddings (Jayasumana et al. 2024); CMMD is reported times 1000."""
SSIM_WINDOW, SSIM_SIGMA, SSIM_CONSTANTS = 11, 1.5, (0.01**2, 0.03**2)
"""SSIM's Gaussian window in pixels, and its two constants for a range of 1 (Wang et al. 2004)."""


def measure_preservation(
    judge: Judge,
    before: Mapping[ImageSpec, Image],
    after: Mapping[ImageSpec, Image],
    specs: Sequence[ImageSpec],
    confidence: float,
    drift: Drift | None = None,
) -> Preservation:
    """Return all similarities of the images of ``specs``.

    Figures of image pairs are averaged over the seeds of each prompt, and their intervals resample prompts.
    """
    pairs = [before[spec] for spec in specs], [after[spec] for spec in specs]
    embeddings = [judge.embed_images(images).double() for images in pairs]
    enough = len(specs) >= MIN_DISTRIBUTION_IMAGES
    return Preservation(
        judge=judge.short_id,
        images=len(specs),
        ssim=estimate_mean(mean_by_prompt(ssim(*pairs), specs), confidence),
        distance=estimate_mean(mean_by_prompt(perceptual_distance(judge, *pairs), specs), confidence),
        kid=estimate_mmd(embeddings[0], embeddings[1], cubic_kernel, 1.0, confidence) if enough else None,
        cmmd=estimate_mmd(embeddings[0], embeddings[1], gaussian_kernel, 1000.0, confidence) if enough else None,
        drift=drift,
    )


def mean_by_prompt(values: Tensor, specs: Sequence[ImageSpec]) -> list[float]:
    """Return the mean over the seeds of each prompt, in the order of first appearance."""
    by_prompt: dict[str, list[float]] = {}
    for spec, value in zip(specs, values.tolist(), strict=True):
        by_prompt.setdefault(spec.prompt, []).append(value)
    return [float(np.mean(own)) for own in by_prompt.values()]


def to_unit_range(images: Sequence[Image]) -> Tensor:
    """Return pixels ``(n, 3, height, width)`` from 0 to 1 in float64."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).double() / 255


def ssim(first: Sequence[Image], second: Sequence[Image]) -> Tensor:
    """Return the mean structural similarity ``(n,)`` of each image pair, averaged over the channels (Wang et al. 2004)."""
    offsets = torch.arange(SSIM_WINDOW).double() - SSIM_WINDOW // 2
    window = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    window /= window.sum()

    def blur(pixels: Tensor) -> Tensor:
        rows = pixels.unfold(3, SSIM_WINDOW, 1) @ window
        return rows.unfold(2, SSIM_WINDOW, 1) @ window

    x, y = to_unit_range(first), to_unit_range(second)
    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y, cov = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2, blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + SSIM_CONSTANTS[0]) / (mean_x**2 + mean_y**2 + SSIM_CONSTANTS[0])
    structure = (2 * cov + SSIM_CONSTANTS[1]) / (var_x + var_y + SSIM_CONSTANTS[1])
    return (luminance * structure).mean((1, 2, 3))


def perceptual_distance(judge: Judge, first: Sequence[Image], second: Sequence[Image]) -> Tensor:
    """Return the perceptual distance ``(n,)`` of each image pair: LPIPS (Zhang et al. 2018) without learned weights.

    Features are the judge's: in each layer every patch's feature vector is normalised; squared distances are averaged over
    patches and summed over layers.
    """
    starts = range(0, len(first), FEATURE_BATCH)
    parts = [(first[start : start + FEATURE_BATCH], second[start : start + FEATURE_BATCH]) for start in starts]
    return torch.cat([feature_distance(judge.patch_features(one), judge.patch_features(other)) for one, other in parts])


def feature_distance(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """Return the squared distances ``(n,)`` of features ``(n, patches, width)`` of each layer, summed over the layers."""
    return torch.stack([(a - b).square().sum(2).mean(1) for a, b in zip(first, second, strict=True)]).sum(0)


def cubic_kernel(first: Tensor, second: Tensor) -> Tensor:
    """Return KID's kernel matrix (Binkowski et al. 2018) of unit embeddings."""
    return (first @ second.T + 1) ** 3


def gaussian_kernel(first: Tensor, second: Tensor) -> Tensor:
    """Return CMMD's kernel matrix."""
    return torch.exp(-torch.cdist(first, second).square() / (2 * CMMD_BANDWIDTH**2))


def unbiased_mmd(first: Tensor, second: Tensor, between: Tensor) -> float:
    """Return the unbiased squared maximum mean discrepancy of kernel matrices ``(n, n)`` (Gretton et al. 2012, eq. 4).

    It can be below 0. The i-th images of both sets share a prompt and a seed, so the diagonal of ``between`` is left out too.
    """
    n = len(first)
    joint = first + second - between - between.T
    return float((joint.sum() - joint.trace()) / (n * (n - 1)))


def estimate_mmd(
    first: Tensor, second: Tensor, kernel: Callable[[Tensor, Tensor], Tensor], scale: float, confidence: float
) -> Estimate:
    """Return the MMD of embeddings ``(n, d)`` of both sets, with an interval from random halves (delete-half jackknife)."""
    n, kernels = len(first), (kernel(first, first), kernel(second, second), kernel(first, second))
    generator, halves = np.random.default_rng(0), list[float]()
    for _ in range(JACKKNIFE_RESAMPLES):
        half = torch.from_numpy(generator.permutation(n)[: n // 2])
        halves.append(unbiased_mmd(*(matrix[half][:, half] for matrix in kernels)))
    margin = critical_value(confidence) * float(np.std(halves))
    value = unbiased_mmd(*kernels)
    return Estimate(value=scale * value, low=scale * (value - margin), high=scale * (value + margin), n=n)
