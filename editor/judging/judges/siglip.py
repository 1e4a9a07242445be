"""A SigLIP of transformers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from editor.generation.config import Image
from editor.judging.judge import Judge
from editor.judging.judges.clip import preprocess_images
from editor.prompts import Profile


class SiglipJudge(Judge):
    """``SiglipModel``, weights in float32. It reads texts padded to its full context, as it was trained."""

    model_type: ClassVar[str] = "siglip"

    def __init__(self, folder: Path, profile: Profile) -> None:
        from transformers import AutoTokenizer, SiglipModel

        super().__init__(folder, profile)
        self.model: Any = SiglipModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32).eval()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """See `Judge.embed_texts`."""
        context = self.model.config.text_config.max_position_embeddings
        ids = self.tokenizer(
            list(texts), padding="max_length", max_length=context, truncation=True, return_tensors="pt"
        )["input_ids"]
        return F.normalize(self.model.text_model(input_ids=ids).pooler_output)

    @torch.no_grad()
    def embed_images(self, images: Sequence[Image]) -> Tensor:
        """See `Judge.embed_images`."""
        runs = [self.model.vision_model(pixel_values=part).pooler_output for part in self._pixel_batches(images)]
        return F.normalize(torch.cat(runs))

    @torch.no_grad()
    def patch_features(self, images: Sequence[Image]) -> list[Tensor]:
        """See `Judge.patch_features`."""
        runs = [
            self.model.vision_model(pixel_values=part, output_hidden_states=True).hidden_states[1:]
            for part in self._pixel_batches(images)
        ]
        return [F.normalize(torch.cat(layer), dim=2) for layer in zip(*runs, strict=True)]

    def _pixel_batches(self, images: Sequence[Image]) -> list[Tensor]:
        """Pixels as the vision tower takes them."""
        return preprocess_images(images, self.model.config.vision_config.image_size)
