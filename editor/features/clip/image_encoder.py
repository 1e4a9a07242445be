"""The image encoder of a CLIP model. Embeddings are neither normalized nor centered, as image generators expect them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from editor.errors import FeatureError
from editor.generation.config import Image
from editor.generation.pipelines.quiet_libraries import quiet_libraries

BATCH_SIZE = 64
OPENAI_NORMALIZATION = {
    "image_mean": (0.48145466, 0.4578275, 0.40821073),
    "image_std": (0.26862954, 0.26130258, 0.27577711),
}
"""The pixel normalization of OpenAI's CLIP, used for models without a preprocessor configuration."""
PREPROCESSOR_FILE = "preprocessor_config.json"


@dataclass(frozen=True)
class ImageEncoder:
    """A ``CLIPModel`` or ``CLIPVisionModelWithProjection`` with its pixel normalization."""

    clip: Any
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def width(self) -> int:
        """Width of an embedding."""
        return int(self.clip.config.projection_dim)

    @property
    def image_size(self) -> int:
        """Side of the square input image, in pixels."""
        return int(self.clip.vision_model.config.image_size)

    @torch.no_grad()
    def embed_pixels(self, pixels: Tensor) -> Tensor:
        """Embed ``(n, 3, h, w)`` pixels in [0, 1] as ``(n, d)``."""
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        normalized = (self.resize_and_crop(pixels) - mean) / std
        pooled = [
            self.clip.vision_model(pixel_values=part).pooler_output for part in torch.split(normalized, BATCH_SIZE)
        ]
        embedded: Tensor = self.clip.visual_projection(torch.cat(pooled))
        return embedded

    def resize_and_crop(self, pixels: Tensor) -> Tensor:
        """Resize the shorter side to the model's size and center-crop."""
        side = self.image_size
        height, width = pixels.shape[-2:]
        if (height, width) == (side, side):
            return pixels
        scale = side / min(height, width)
        size = (max(side, round(height * scale)), max(side, round(width * scale)))
        scaled = F.interpolate(pixels, size, mode="bicubic", antialias=True).clamp(0, 1)
        top, left = (size[0] - side) // 2, (size[1] - side) // 2
        return scaled[..., top : top + side, left : left + side]

    @torch.no_grad()
    def zero_embedding(self) -> Tensor:
        """Embed pixels that are zero after normalization, ``(d,)``: Kandinsky's negative embedding."""
        pooled = self.clip.vision_model(pixel_values=torch.zeros(1, 3, self.image_size, self.image_size)).pooler_output
        embedded: Tensor = self.clip.visual_projection(pooled)[0]
        return embedded

    def embed_images(self, images: Sequence[Image]) -> Tensor:
        """Embed uint8 images of one size as ``(n, d)``."""
        return self.embed_pixels(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255)


def open_image_encoder(folder: Path) -> ImageEncoder:
    """Load a CLIP model in transformers' layout, or only its image encoder.

    Raises:
        FeatureError: ``folder`` does not contain a CLIP model with safetensors weights.
    """
    from transformers import CLIPModel, CLIPVisionModelWithProjection

    classes = {"clip": CLIPModel, "clip_vision_model": CLIPVisionModelWithProjection}
    kind = read_json(folder / "config.json").get("model_type")
    if kind not in classes or not (folder / "model.safetensors").is_file():
        raise FeatureError(
            f"{folder.name} does not contain a CLIP model.",
            field="clip",
            remedy="Name a folder with config.json (model_type clip or clip_vision_model) and model.safetensors.",
        )
    with quiet_libraries():
        clip = classes[kind].from_pretrained(folder, use_safetensors=True, dtype=torch.float32).eval()
    settings = OPENAI_NORMALIZATION | read_json(folder / PREPROCESSOR_FILE)
    return ImageEncoder(clip, tuple(settings["image_mean"]), tuple(settings["image_std"]))


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object; empty if there is no such file."""
    values: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    return values
