"""The artwork: one RGBA image per object and style, composited on flat backgrounds."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from editor.emoji.vocabulary import BACKGROUNDS, OBJECT_NAMES, STYLES

SIZE = 64
"""Pixels along each side of an image."""
SHEET = Path(__file__).parent / "data" / "artwork.webp"


def save_sheet(pictures: np.ndarray, path: Path = SHEET) -> None:
    """Write ``(objects, styles, 64, 64, 4)`` uint8 images as one lossless sprite sheet, one row per object."""
    objects, styles = pictures.shape[:2]
    sheet = pictures.transpose(0, 2, 1, 3, 4).reshape(objects * SIZE, styles * SIZE, 4)
    Image.fromarray(sheet).save(path, lossless=True, method=6, exact=False)


def load_sheet(path: Path = SHEET) -> Tensor:
    """Read the sprite sheet as ``(objects, styles, 4, 64, 64)`` float RGBA in [0, 1], in vocabulary order."""
    sheet = np.asarray(Image.open(path).convert("RGBA"))
    tiles = sheet.reshape(len(OBJECT_NAMES), SIZE, len(STYLES), SIZE, 4).transpose(0, 2, 4, 1, 3)
    return torch.from_numpy(np.ascontiguousarray(tiles)).float() / 255


def background_colours() -> Tensor:
    """Return the background colors, ``(backgrounds, 3)`` in [0, 1]."""
    return torch.tensor(list(BACKGROUNDS.values()), dtype=torch.float32) / 255


def shift_pictures(pictures: Tensor, shift: tuple[int, int]) -> Tensor:
    """Shift RGBA images by (down, right) pixels, filling with transparency. The artwork has a margin of 2 pixels."""
    down, right = shift
    moved = torch.roll(pictures, shifts=(down, right), dims=(-2, -1))
    if down:
        moved[..., slice(0, down) if down > 0 else slice(down, None), :] = 0
    if right:
        moved[..., :, slice(0, right) if right > 0 else slice(right, None)] = 0
    return moved


def composite_on(pictures: Tensor, colours: Tensor) -> Tensor:
    """Composite ``(n, 4, h, w)`` RGBA images on ``(n, 3)`` colors as ``(n, 3, h, w)`` RGB in [-1, 1]."""
    rgb, alpha = pictures[:, :3], pictures[:, 3:]
    return (rgb * alpha + colours[:, :, None, None] * (1 - alpha)) * 2 - 1
