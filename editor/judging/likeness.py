"""Likeness judges: whether a face in an image is a person's. They come from other distributions, by entry point."""

from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from api_schemas.judging import ChoiceRecord
from editor.errors import JudgeError
from editor.generation.config import Image
from editor.judging.plugins import LIKENESS, list_names, load

REFERENCE_IMAGES, MIN_REFERENCE_FACES = 16, 4
"""Images of the base model that the person's face is averaged over, and how many of them must show a face."""


class LikenessJudge(Protocol):
    """A face recogniser."""

    name: ClassVar[str]
    version: str
    sha256: str
    """Digest of the weights."""
    threshold: float
    """Cosine similarity from which two faces are one person's."""

    def embed_faces(self, images: Sequence[Image]) -> list[Tensor]:
        """Return the embeddings ``(faces, d)`` of the faces in each image, the largest face first."""
        ...


class LikenessRecogniser:
    """Recognises a person whose face is the mean of the largest faces in images of the base model.

    If too few of these show a face, the person is not recognised in any image, and the gates are inconclusive.
    """

    def __init__(self, judge: LikenessJudge, references: Sequence[Image]) -> None:
        self.judge = judge
        self.id = f"{judge.name} {judge.version}@{judge.sha256[:12]}"
        self.choices = ChoiceRecord(rule="likeness", count=1, threshold=judge.threshold)
        self.face = mean_face(judge.embed_faces(references))

    def recognise(self, images: Sequence[Image]) -> list[bool]:
        """Return whether any face in each image is as similar to the person's as the judge's threshold."""
        return [self.similarity(faces) >= self.judge.threshold for faces in self.judge.embed_faces(images)]

    def similarity(self, faces: Tensor) -> float:
        """Return the largest similarity of faces ``(n, d)`` to the person's; -1 without a face."""
        if self.face is None or not len(faces):
            return -1.0
        return float((F.normalize(faces.float()) @ self.face).max())


def mean_face(faces: Sequence[Tensor]) -> Tensor | None:
    """Return the mean direction ``(d,)`` of the first face of each image; None if there are too few."""
    largest = [F.normalize(one[0].float(), dim=0) for one in faces if len(one)]
    return F.normalize(torch.stack(largest).mean(0), dim=0) if len(largest) >= MIN_REFERENCE_FACES else None


def likeness_class(name: str) -> Callable[[], LikenessJudge]:
    """Return the likeness judge that is declared under a name. Raises JudgeError: there is none."""
    found: Callable[[], LikenessJudge] | None = load(LIKENESS, name)
    if found is None:
        known = ", ".join(list_names(LIKENESS)) or "none"
        raise JudgeError(
            f"There is no likeness judge {name!r}.",
            field="validation.likeness",
            remedy=f"Installed: {known}. Install a distribution that declares it in the entry point group {LIKENESS}.",
        )
    return found
