"""Image similarities against slower computations and planted changes."""

import numpy as np
import pytest
import torch
from torch import Tensor

from editor.generation.config import Image, ImageSpec
from editor.judging.image_similarity import (
    MIN_DISTRIBUTION_IMAGES,
    cubic_kernel,
    estimate_mmd,
    gaussian_kernel,
    measure_preservation,
    perceptual_distance,
    ssim,
    unbiased_mmd,
)


class PlantedJudge:
    """Embeds an image by its mean colour; one layer with a patch for each quarter."""

    short_id = "planted"

    def embed_images(self, images: list[Image]) -> Tensor:
        return torch.nn.functional.normalize(torch.tensor(np.stack(images), dtype=torch.float64).mean((1, 2)) + 1)

    def patch_features(self, images: list[Image]) -> list[Tensor]:
        pixels = torch.tensor(np.stack(images), dtype=torch.float64) + 1
        half = pixels.shape[1] // 2
        quarters = pixels.reshape(len(pixels), 2, half, 2, half, 3).mean((2, 4)).flatten(1, 2)
        return [torch.nn.functional.normalize(quarters, dim=2)]


def pictures(count: int, seed: int = 0) -> list[Image]:
    rng = np.random.default_rng(seed)
    smooth = rng.integers(0, 256, (count, 8, 8, 3)).astype(np.uint8)
    return list(smooth.repeat(4, axis=1).repeat(4, axis=2))


def ssim_by_hand(first: Image, second: Image) -> float:
    """Wang et al. 2004, window by window."""
    bell = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(bell, bell) / np.outer(bell, bell).sum()
    x, y, found = first / 255, second / 255, []
    for row in range(x.shape[0] - 10):
        for column in range(x.shape[1] - 10):
            for channel in range(3):
                a, b = (side[row : row + 11, column : column + 11, channel] for side in (x, y))
                ma, mb = (window * a).sum(), (window * b).sum()
                va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
                cov = (window * (a - ma) * (b - mb)).sum()
                light = (2 * ma * mb + 1e-4) / (ma**2 + mb**2 + 1e-4)
                found.append(light * (2 * cov + 9e-4) / (va + vb + 9e-4))
    return float(np.mean(found))


def test_ssim_matches_its_definition() -> None:
    first, second = pictures(2, 1), pictures(2, 2)
    second[1] = np.clip(first[1].astype(int) + 20, 0, 255).astype(np.uint8)
    expected = [ssim_by_hand(a, b) for a, b in zip(first, second, strict=True)]
    assert ssim(first, second).tolist() == pytest.approx(expected, abs=1e-9)
    assert ssim(first, first).tolist() == pytest.approx([1, 1])


def test_perceptual_distance_grows_with_the_changed_area() -> None:
    first = pictures(1)[0]
    near, far = first.copy(), first.copy()
    near[:16, :16] = 255 - near[:16, :16]
    far[:, :] = 255 - far
    own, one, all_ = perceptual_distance(PlantedJudge(), [first] * 3, [first, near, far]).tolist()  # type: ignore[arg-type]
    assert own == 0 < one < all_


def kernel_mean(x: Tensor, y: Tensor, kernel: str) -> float:
    """Pair by pair; pairs of one index are left out."""
    total, count = 0.0, 0
    for i in range(len(x)):
        for j in range(len(y)):
            if i != j:
                dot = float(x[i] @ y[j])
                total += (
                    (dot + 1) ** 3 if kernel == "cubic" else float(np.exp(-float((x[i] - y[j]).square().sum()) / 200))
                )
                count += 1
    return total / count


@pytest.mark.parametrize("name", ["cubic", "gaussian"])
def test_mmd_matches_its_definition(name: str) -> None:
    rng = torch.Generator().manual_seed(0)
    x, y = (torch.randn((9, 4), generator=rng, dtype=torch.float64) for _ in range(2))
    kernel = {"cubic": cubic_kernel, "gaussian": gaussian_kernel}[name]
    expected = kernel_mean(x, x, name) + kernel_mean(y, y, name) - 2 * kernel_mean(x, y, name)
    assert unbiased_mmd(kernel(x, x), kernel(y, y), kernel(x, y)) == pytest.approx(expected, abs=1e-12)


def test_mmd_is_zero_without_a_change_and_positive_with_one() -> None:
    rng = torch.Generator().manual_seed(1)
    x = torch.nn.functional.normalize(torch.randn((200, 8), generator=rng, dtype=torch.float64))
    y = torch.nn.functional.normalize(x + 0.3 * torch.randn(x.shape, generator=rng, dtype=torch.float64) + 0.5)
    same, moved = estimate_mmd(x, x, cubic_kernel, 1.0, 0.95), estimate_mmd(x, y, cubic_kernel, 1.0, 0.95)
    assert (same.value, same.low, same.high) == pytest.approx((0, 0, 0), abs=1e-12)
    assert moved.low > 0


def test_samples_of_one_distribution_rarely_differ_significantly() -> None:
    rng, apart = torch.Generator().manual_seed(2), 0
    for _ in range(20):
        x, y = (torch.randn((120, 6), generator=rng, dtype=torch.float64) / 6**0.5 for _ in range(2))
        apart += estimate_mmd(x, y, cubic_kernel, 1.0, 0.95).low > 0
    assert apart <= 4


def test_kid_and_cmmd_need_a_minimum_of_images() -> None:
    def figures(count: int) -> tuple[bool, bool, int]:
        shots = [ImageSpec(f"prompt {i}", 0) for i in range(count)]
        images = dict(zip(shots, pictures(count), strict=True))
        found = measure_preservation(PlantedJudge(), images, images, shots, 0.95)  # type: ignore[arg-type]
        return found.kid is None, found.cmmd is None, found.ssim.n

    assert figures(MIN_DISTRIBUTION_IMAGES - 1) == (True, True, MIN_DISTRIBUTION_IMAGES - 1)
    assert figures(MIN_DISTRIBUTION_IMAGES) == (False, False, MIN_DISTRIBUTION_IMAGES)
