"""The judge for SigLIP models of transformers."""

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
    """A ``SiglipModel`` in float32. Texts are padded to the full context length, as in its training."""

    model_type: ClassVar[str] = "siglip"

    def __init__(self, folder: Path, profile: Profile) -> None:
        from transformers import AutoTokenizer, SiglipModel

        super().__init__(folder, profile)
        self.model: Any = SiglipModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32).eval()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit embeddings of texts; see `Judge.embed_texts`."""
        context = self.model.config.text_config.max_position_embeddings
        ids = self.tokenizer(
            list(texts), padding="max_length", max_length=context, truncation=True, return_tensors="pt"
        )["input_ids"]
        return F.normalize(self.model.text_model(input_ids=ids).pooler_output)

    @torch.no_grad()
    def embed_images(self, images: Sequence[Image]) -> Tensor:
        """Return unit embeddings of images; see `Judge.embed_images`."""
        batches = [self.model.vision_model(pixel_values=pixels).pooler_output for pixels in self._pixel_batches(images)]
        return F.normalize(torch.cat(batches))

    @torch.no_grad()
    def patch_features(self, images: Sequence[Image]) -> list[Tensor]:
        """Return unit features of the patches; see `Judge.patch_features`."""
        batches = [
            self.model.vision_model(pixel_values=pixels, output_hidden_states=True).hidden_states[1:]
            for pixels in self._pixel_batches(images)
        ]
        return [F.normalize(torch.cat(layer), dim=2) for layer in zip(*batches, strict=True)]

    def _pixel_batches(self, images: Sequence[Image]) -> list[Tensor]:
        return preprocess_images(images, self.model.config.vision_config.image_size)
