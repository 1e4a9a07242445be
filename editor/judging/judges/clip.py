"""The judge for CLIP models of transformers."""

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

IMAGE_BATCH = 64
"""Images that are embedded in one batch."""


class ClipJudge(Judge):
    """A ``CLIPModel`` in float32."""

    model_type: ClassVar[str] = "clip"

    def __init__(self, folder: Path, profile: Profile) -> None:
        from transformers import CLIPModel, CLIPTokenizer

        super().__init__(folder, profile)
        self.clip: Any = CLIPModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32).eval()
        self.tokenizer: Any = CLIPTokenizer.from_pretrained(folder)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit embeddings of texts; see `Judge.embed_texts`."""
        ids = self.tokenizer(list(texts), padding="longest", truncation=True, return_tensors="pt")["input_ids"]
        return F.normalize(self.clip.text_projection(self.clip.text_model(input_ids=ids).pooler_output))

    @torch.no_grad()
    def embed_images(self, images: Sequence[Image]) -> Tensor:
        """Return unit embeddings of images; see `Judge.embed_images`."""
        batches = [self.clip.vision_model(pixel_values=pixels).pooler_output for pixels in self._pixel_batches(images)]
        return F.normalize(self.clip.visual_projection(torch.cat(batches)))

    @torch.no_grad()
    def patch_features(self, images: Sequence[Image]) -> list[Tensor]:
        """Return unit features of the patches, without the class token; see `Judge.patch_features`."""
        batches = [
            self.clip.vision_model(pixel_values=pixels, output_hidden_states=True).hidden_states[1:]
            for pixels in self._pixel_batches(images)
        ]
        return [F.normalize(torch.cat(layer)[:, 1:], dim=2) for layer in zip(*batches, strict=True)]

    def _pixel_batches(self, images: Sequence[Image]) -> list[Tensor]:
        return preprocess_images(images, self.clip.config.vision_config.image_size)


def preprocess_images(images: Sequence[Image], side: int) -> list[Tensor]:
    """Return batches ``(at most IMAGE_BATCH, 3, side, side)`` of pixels from -1 to 1, resized if needed."""
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    if pixels.shape[-1] != side:
        pixels = F.interpolate(pixels, (side, side), mode="bicubic", antialias=True)
    return list(torch.split(pixels, IMAGE_BATCH))
