"""The judge: a CLIP that recognises objects and styles in images and shares no weights with the edited model."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from editor.checkpoints.folder import file_digest, weight_files
from editor.errors import JudgeError
from editor.prompts import Profile
from editor.prompts.book import evenly
from editor.prompts.concepts import Phrase

Asks = Literal["object", "style"]
ENSEMBLE = 24
"""Prompts averaged into one class, at most."""
Image = np.ndarray
"""(height, width, 3) uint8."""


@dataclass(frozen=True)
class Judge:
    """A CLIP with the names it can choose from."""

    clip: Any
    tokenizer: Any
    profile: Profile
    name: str
    digest: str
    known: dict[tuple[Asks, str], Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """``(n, d)`` unit embeddings of texts."""
        ids = self.tokenizer(list(texts), padding="longest", truncation=True, return_tensors="pt")["input_ids"]
        return F.normalize(self.clip.text_projection(self.clip.text_model(input_ids=ids).pooler_output))

    @torch.no_grad()
    def images(self, images: Sequence[Image]) -> Tensor:
        """``(n, d)`` unit embeddings of images."""
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
        side = self.clip.config.vision_config.image_size
        if pixels.shape[-1] != side:
            pixels = F.interpolate(pixels, (side, side), mode="bicubic", antialias=True)
        batches = (self.clip.vision_model(pixel_values=part).pooler_output for part in torch.split(pixels, 64))
        return F.normalize(self.clip.visual_projection(torch.cat(list(batches))))

    def describe(self, asks: Asks, name: str) -> Tensor:
        """Unit embedding of a class: its prompts over many contexts, averaged (Radford et al. 2021, sec. 3.1.4)."""
        if (asks, name) not in self.known:
            self.known[asks, name] = F.normalize(self.texts(class_prompts(self.profile, asks, name)).mean(0), dim=0)
        return self.known[asks, name]

    def names(self, asks: Asks, extra: Sequence[str] = ()) -> list[str]:
        """The classes to choose from."""
        base = self.profile.object_names if asks == "object" else self.profile.styles
        return list(dict.fromkeys([*base, *extra]))

    def recognise(self, asks: Asks, embedded: Tensor, names: Sequence[str]) -> tuple[list[str], Tensor]:
        """The name chosen for each embedded image, and the similarities ``(n, names)``."""
        scores = embedded @ torch.stack([self.describe(asks, name) for name in names]).T
        return [names[i] for i in scores.argmax(1).tolist()], scores


def class_prompts(profile: Profile, asks: Asks, name: str) -> list[str]:
    """Contexts that describe a class: an object in all styles, or a style on many objects."""
    if asks == "object":
        grid = product(profile.styled_wordings, [name], profile.styles)
    else:
        grid = product(profile.styled_wordings[:1], profile.object_names, [name])
    return [Phrase(wording, thing, style).text() for wording, thing, style in evenly(list(grid), ENSEMBLE)]


def open_judge(folder: Path, model_dir: Path, profile: Profile) -> Judge:
    """Load the judge.

    Raises:
        JudgeError: no judge in ``folder``, or one that shares a weights file with the model to be edited.
    """
    from transformers import CLIPModel, CLIPTokenizer

    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise JudgeError(
            f"There is no judge in {folder}.",
            remedy="Set EXPUNGE_JUDGE to a folder with a CLIPModel and its tokenizer, or switch validation off.",
        )
    digest = file_digest(weights)
    if digest in {file_digest(path) for path in weight_files(model_dir).values()}:
        raise JudgeError(
            "The judge is the encoder that is being edited.", remedy="Judge with a CLIP that is not part of the model."
        )
    clip = CLIPModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32).eval()
    return Judge(clip, CLIPTokenizer.from_pretrained(folder), profile, folder.name, digest)
