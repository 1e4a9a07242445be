"""The judge: a model of images and texts that recognises objects and styles, and shares no weights with the edited model."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from editor.checkpoints import file_digest
from editor.checkpoints.safe_paths import read_json
from editor.errors import JudgeError
from editor.generation.config import Image
from editor.judging.judge_independence import check_independence
from editor.judging.plugins import JUDGES, load
from editor.prompts import Profile
from editor.prompts.concepts import ConceptKind
from editor.prompts.templates import class_prompts

WEIGHTS_FILE = "model.safetensors"


class Judge(ABC):
    """A model with the names it can choose from. A kind of judge is one file with one registered class: see `judges/`."""

    model_type: ClassVar[str]
    """As ``config.json`` of its folder says."""

    def __init__(self, folder: Path, profile: Profile) -> None:
        self.profile, self.name = profile, folder.name
        self.digest = file_digest(folder / WEIGHTS_FILE)
        self._class_embeddings: dict[tuple[ConceptKind, str], Tensor] = {}

    @abstractmethod
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """``(n, d)`` unit embeddings of texts."""

    @abstractmethod
    def embed_images(self, images: Sequence[Image]) -> Tensor:
        """``(n, d)`` unit embeddings of images."""

    @abstractmethod
    def patch_features(self, images: Sequence[Image]) -> list[Tensor]:
        """For each layer of the vision tower, ``(n, patches, width)`` unit feature vectors."""

    @property
    def short_id(self) -> str:
        """Who judged, in one word that tells judges apart."""
        return f"{self.name}@{self.digest[:12]}"

    def embed_class(self, kind: ConceptKind, name: str) -> Tensor:
        """``(contexts, d)`` unit embeddings of a class, in contexts that are the same for every class of a kind."""
        if (kind, name) not in self._class_embeddings:
            self._class_embeddings[kind, name] = self.embed_texts(class_prompts(self.profile, kind, name))
        return self._class_embeddings[kind, name]

    def class_similarity(self, kind: ConceptKind, embedded: Tensor, name: str) -> Tensor:
        """``(n, d)`` -> ``(n,)``: cosine to the class in the context that fits best.

        Averaging the contexts, as is usual for photographs, fails here: a picture of a fox in ink on blue is nearer to
        other things in ink on blue than to the average fox.
        """
        return (embedded @ self.embed_class(kind, name).T.to(embedded)).amax(1)

    def class_names(self, kind: ConceptKind, extra: Sequence[str] = ()) -> list[str]:
        """The classes to choose from."""
        base = self.profile.object_names if kind == "object" else self.profile.styles
        return list(dict.fromkeys([*base, *extra]))

    def classify(self, kind: ConceptKind, embedded: Tensor, names: Sequence[str]) -> tuple[list[str], Tensor]:
        """The name chosen for each embedded image, and the similarities ``(n, names)``."""
        scores = torch.stack([self.class_similarity(kind, embedded, name) for name in names], dim=1)
        return [names[i] for i in scores.argmax(1).tolist()], scores

    def clip_scores(self, embedded: Tensor, prompts: Sequence[str]) -> Tensor:
        """``(n, d)`` -> ``(n,)``: CLIPScore, 100 cosine of each image and its own prompt, at least 0, as in torchmetrics."""
        return 100 * (embedded * self.embed_texts(prompts).to(embedded)).sum(1).clamp(min=0)


def open_judge(folder: Path, model_dir: Path, profile: Profile) -> Judge:
    """Load the judge.

    Raises:
        JudgeError: no judge in ``folder``, one of a kind that nobody registered, or one that shares a weights file or a matrix
            of its text tower with the model to be edited.
    """
    if not (folder / WEIGHTS_FILE).is_file():
        raise JudgeError(
            f"There is no judge in {folder}.",
            remedy="Set EXPUNGE_JUDGE to a folder with a CLIPModel and its tokenizer, or switch validation off.",
        )
    check_independence(folder / WEIGHTS_FILE, model_dir)
    return judge_class(str(read_json(folder / "config.json").get("model_type")))(folder, profile)


def judge_class(model_type: str) -> Callable[[Path, Profile], Judge]:
    """Return the judge class for the ``model_type`` of a folder's ``config.json``. Raises JudgeError if there is none."""
    found: Callable[[Path, Profile], Judge] = load(JUDGES, model_type)
    return found
