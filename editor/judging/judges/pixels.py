"""Images as vision towers take them."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from editor.judging.judge import Image

BATCH = 64


def batches(images: Sequence[Image], side: int) -> list[Tensor]:
    """``(up to 64, 3, side, side)`` from -1 to 1, resized where need be."""
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    if pixels.shape[-1] != side:
        pixels = F.interpolate(pixels, (side, side), mode="bicubic", antialias=True)
    return list(torch.split(pixels, BATCH))
