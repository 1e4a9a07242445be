"""Pictures from files: found, read, cut square, and labelled by the folders that they lie in."""

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
    """All files of pictures in a folder and below, by name.

    Raises:
        FeatureError: there is none.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise FeatureError(
            f"There is no picture in {folder.name}.",
            field="images",
            remedy=f"Name a folder of {', '.join(sorted(IMAGE_SUFFIXES))}.",
        )
    return found


def folder_labels(folder: Path, pictures: Sequence[Path]) -> dict[str, list[str]]:
    """``folder``: the sub-folder that each lies in; nothing where some lie in none."""
    places = [picture.relative_to(folder).parts for picture in pictures]
    return {"folder": [place[0] for place in places]} if all(len(place) > 1 for place in places) else {}


def read_image(picture: Path) -> np.ndarray:
    """A picture's pixels, (height, width, 3) uint8; transparent ones on white.

    Raises:
        UsageError: not a picture.
    """
    try:
        image = Pillow.open(picture).convert("RGBA")
    except OSError as error:
        raise UsageError(
            f"{picture} is no picture that can be read.", field="picture", remedy="Give a PNG, JPEG or WebP."
        ) from error
    canvas = Pillow.new("RGBA", image.size, "white")
    return np.asarray(Pillow.alpha_composite(canvas, image).convert("RGB"))


def read_square_images(pictures: Sequence[Path], side: int) -> Tensor:
    """``(n, 3, side, side)`` in [0, 1]: the middle of each, scaled."""
    return torch.cat([crop_square(read_image(picture), side) for picture in pictures])


def crop_square(pixels: np.ndarray, side: int) -> Tensor:
    """``(height, width, 3)`` uint8 -> ``(1, 3, side, side)``."""
    height, width = pixels.shape[:2]
    least = min(height, width)
    top, left = (height - least) // 2, (width - least) // 2
    middle = (
        torch.from_numpy(pixels[top : top + least, left : left + least].copy()).permute(2, 0, 1)[None].float() / 255
    )
    return F.interpolate(middle, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
