"""The judge: a CLIP that recognises objects and styles in images and shares no weights with the edited model."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle, product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from editor.checkpoints import file_digest, weight_files
from editor.errors import JudgeError
from editor.prompts import Profile
from editor.prompts.concepts import Phrase
from editor.prompts.contexts import evenly

Asks = Literal["object", "style"]
ENSEMBLE = 36
"""Contexts in which a class is described, at most."""
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
        """``(contexts, d)`` unit embeddings of a class, in contexts that are the same for every class of a kind."""
        if (asks, name) not in self.known:
            self.known[asks, name] = self.texts(class_prompts(self.profile, asks, name))
        return self.known[asks, name]

    def similarity(self, asks: Asks, embedded: Tensor, name: str) -> Tensor:
        """``(n, d)`` -> ``(n,)``: cosine to the class in the context that fits best.

        Averaging the contexts, as is usual for photographs, fails here: a picture of a fox in ink on blue is nearer to
        other things in ink on blue than to the average fox.
        """
        return (embedded @ self.describe(asks, name).T.to(embedded)).amax(1)

    def names(self, asks: Asks, extra: Sequence[str] = ()) -> list[str]:
        """The classes to choose from."""
        base = self.profile.object_names if asks == "object" else self.profile.styles
        return list(dict.fromkeys([*base, *extra]))

    def recognise(self, asks: Asks, embedded: Tensor, names: Sequence[str]) -> tuple[list[str], Tensor]:
        """The name chosen for each embedded image, and the similarities ``(n, names)``."""
        scores = torch.stack([self.similarity(asks, embedded, name) for name in names], dim=1)
        return [names[i] for i in scores.argmax(1).tolist()], scores


def class_prompts(profile: Profile, asks: Asks, name: str) -> list[str]:
    """Contexts that describe a class: an object in all styles and on all backgrounds, a style on objects and backgrounds."""
    wording, suffixes = profile.styled_wordings[0], profile.suffixes
    if asks == "object":
        grid = [Phrase(wording, name, style, suffix) for style, suffix in product(profile.styles, suffixes)]
        return [phrase.text() for phrase in evenly(grid, ENSEMBLE)]
    things = cycle(suffixes)
    return [Phrase(wording, thing, name, next(things)).text() for thing in profile.object_names]


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
