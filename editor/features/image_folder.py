"""Images from files: list, read, crop, and label them by their sub-folder (like torchvision's ``ImageFolder``)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as Pillow
from torch import Tensor

from api_schemas.errors import UsageError
from editor.errors import FeatureError

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}


def list_images(folder: Path) -> list[Path]:
    """List the image files in a folder and its sub-folders, sorted.

    Raises:
        FeatureError: there are none.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise FeatureError(
            f"There are no images in {folder.name}.",
            field="images",
            remedy=f"Name a folder that contains {', '.join(sorted(IMAGE_SUFFIXES))} files.",
        )
    return paths


def folder_labels(folder: Path, images: Sequence[Path]) -> dict[str, list[str]]:
    """Label each image by its sub-folder, as labels of kind ``folder``; empty if an image is in none."""
    parts = [image.relative_to(folder).parts for image in images]
    return {"folder": [names[0] for names in parts]} if all(len(names) > 1 for names in parts) else {}


def read_image(path: Path) -> np.ndarray:
    """Read an image file as ``(height, width, 3)`` uint8, transparent pixels on white.

    Raises:
        UsageError: the file is not a readable image.
    """
    try:
        image = Pillow.open(path).convert("RGBA")
    except OSError as error:
        raise UsageError(
            f"{path} is not a readable image.", field="picture", remedy="Use a PNG, JPEG or WebP file."
        ) from error
    canvas = Pillow.new("RGBA", image.size, "white")
    return np.asarray(Pillow.alpha_composite(canvas, image).convert("RGB"))


def read_square_images(paths: Sequence[Path], side: int) -> Tensor:
    """Read image files as ``(n, 3, side, side)`` in [0, 1], center-cropped and resized."""
    return torch.cat([crop_square(read_image(path), side) for path in paths])


def crop_square(pixels: np.ndarray, side: int) -> Tensor:
    """Center-crop and resize ``(height, width, 3)`` uint8 pixels to ``(1, 3, side, side)`` in [0, 1]."""
    height, width = pixels.shape[:2]
    shorter = min(height, width)
    top, left = (height - shorter) // 2, (width - shorter) // 2
    middle = (
        torch.from_numpy(pixels[top : top + shorter, left : left + shorter].copy()).permute(2, 0, 1)[None].float() / 255
    )
    return F.interpolate(middle, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
