"""A CLIP of transformers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from editor.generation.config import Image
from editor.judging.judge import Judge
from editor.prompts import Profile


class ClipJudge(Judge):
    """``CLIPModel``, weights in float32."""

    model_type: ClassVar[str] = "clip"

    def __init__(self, folder: Path, profile: Profile) -> None:
        from transformers import CLIPModel, CLIPTokenizer

        super().__init__(folder, profile)
        self.clip: Any = CLIPModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32).eval()
        self.tokenizer: Any = CLIPTokenizer.from_pretrained(folder)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """See `Judge.embed_texts`."""
        ids = self.tokenizer(list(texts), padding="longest", truncation=True, return_tensors="pt")["input_ids"]
        return F.normalize(self.clip.text_projection(self.clip.text_model(input_ids=ids).pooler_output))

    @torch.no_grad()
    def embed_images(self, images: Sequence[Image]) -> Tensor:
        """See `Judge.embed_images`."""
        parts = [self.clip.vision_model(pixel_values=part).pooler_output for part in self._pixel_batches(images)]
        return F.normalize(self.clip.visual_projection(torch.cat(parts)))

    @torch.no_grad()
    def patch_features(self, images: Sequence[Image]) -> list[Tensor]:
        """See `Judge.patch_features`; the class token is left out."""
        runs = [
            self.clip.vision_model(pixel_values=part, output_hidden_states=True).hidden_states[1:]
            for part in self._pixel_batches(images)
        ]
        return [F.normalize(torch.cat(layer)[:, 1:], dim=2) for layer in zip(*runs, strict=True)]

    def _pixel_batches(self, images: Sequence[Image]) -> list[Tensor]:
        """Pixels as the vision tower takes them."""
        return preprocess_images(images, self.clip.config.vision_config.image_size)


IMAGE_BATCH = 64


def preprocess_images(images: Sequence[Image], side: int) -> list[Tensor]:
    """``(up to 64, 3, side, side)`` from -1 to 1, resized where need be."""
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    if pixels.shape[-1] != side:
        pixels = F.interpolate(pixels, (side, side), mode="bicubic", antialias=True)
    return list(torch.split(pixels, IMAGE_BATCH))
