"""The judge: an image-text model that classifies objects and styles, and shares no weights with the edited model."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from api_schemas.judging import ImagePreprocessing
from editor.checkpoints.safe_paths import find_weights, read_json
from editor.errors import CheckpointError, JudgeError
from editor.generation.config import Image
from editor.io.digests import file_digest, sha256_hex
from editor.io.file_version import FileVersion, file_version
from editor.judging.judge_independence import check_independence
from editor.judging.plugins import JUDGES, list_names, load
from editor.prompts import Profile
from editor.prompts.concepts import ConceptKind
from editor.prompts.templates import class_prompts

JUDGES_IN_MEMORY = 2
"""Judges that a process keeps: opening one and embedding its classes takes seconds."""
JUDGE_SETTING = "EXPUNGE_JUDGE"
"""The setting that names the judge's folder. Errors about the judge are about this field."""
OPEN_CLIP_FILES = ("open_clip_config.json", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Files of a folder in OpenCLIP's own layout."""


class Judge(ABC):
    """An image-text model with the classes of a prompt profile.

    Subclasses implement the three embedding methods for one ``model_type`` of transformers; see `editor.judging.judges`.
    """

    model_type: ClassVar[str]
    """The ``model_type`` in the ``config.json`` of the judge's folder."""

    def __init__(self, folder: Path, profile: Profile) -> None:
        self.profile, self.name = profile, folder.name
        self.digest = weights_digest(judge_weights(folder))
        self._class_embeddings: dict[tuple[ConceptKind, str], Tensor] = {}

    @abstractmethod
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit embeddings ``(n, d)`` of texts."""

    @abstractmethod
    def embed_images(self, images: Sequence[Image]) -> Tensor:
        """Return unit embeddings ``(n, d)`` of images."""

    @abstractmethod
    def patch_features(self, images: Sequence[Image]) -> list[Tensor]:
        """Return the unit feature vectors ``(n, patches, width)`` of each layer of the image encoder."""

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Judge":
        """Move the model to a device and convert its floating-point type; return this judge. By default nothing moves."""
        return self

    @property
    def preprocessing(self) -> ImagePreprocessing | None:
        """How images are resized and normalised, for the report; None if the judge does not say."""
        return None

    @property
    def short_id(self) -> str:
        """The judge's name and a prefix of its digest, as reports show it."""
        return f"{self.name}@{self.digest[:12]}"

    def embed_class(self, kind: ConceptKind, name: str) -> Tensor:
        """Return unit embeddings ``(contexts, d)`` of a class, in the contexts that every class of its kind is described in.

        If the profile asks for averages, there is one: the mean of the unit embeddings of the descriptions (CLIP, Radford et
        al. 2021, section 3.1.4).
        """
        return self.embed_classes(kind, [name])[name]

    def embed_classes(self, kind: ConceptKind, names: Sequence[str]) -> dict[str, Tensor]:
        """Return the embeddings of several classes, see `embed_class`; new ones are embedded together, and all are cached."""
        new = [name for name in dict.fromkeys(names) if (kind, name) not in self._class_embeddings]
        descriptions = {name: class_prompts(self.profile, kind, name) for name in new}
        if new:
            embedded = self.embed_texts([text for texts in descriptions.values() for text in texts])
            split = torch.split(embedded, [len(texts) for texts in descriptions.values()])
            self._class_embeddings |= {(kind, name): self._pool(rows) for name, rows in zip(new, split, strict=True)}
        return {name: self._class_embeddings[kind, name] for name in names}

    def _pool(self, contexts: Tensor) -> Tensor:
        """Average the contexts ``(contexts, d)`` of a class if the profile asks for it."""
        if self.profile.judging.descriptions == "average":
            return F.normalize(contexts.mean(0, keepdim=True))
        return contexts

    def class_similarity(self, kind: ConceptKind, embeddings: Tensor, name: str) -> Tensor:
        """Return the cosine similarity ``(n,)`` of image embeddings ``(n, d)`` to the class in its best matching context.

        Averaging the contexts, as is usual for photographs, fails for emoji: a picture of a fox in ink on blue is nearer to
        other things in ink on blue than to the average fox. The profile says which is done.
        """
        return (embeddings @ self.embed_class(kind, name).T.to(embeddings)).amax(1)

    def class_names(self, kind: ConceptKind, extra: Sequence[str] = ()) -> list[str]:
        """Return the classes of a kind, with ``extra`` ones appended."""
        return list(dict.fromkeys([*self.profile.names_of(kind), *extra]))

    def classify(self, kind: ConceptKind, embeddings: Tensor, names: Sequence[str]) -> tuple[list[str], Tensor]:
        """Return the most similar class of each image embedding ``(n, d)``, and the similarities ``(n, names)``."""
        self.embed_classes(kind, names)
        scores = torch.stack([self.class_similarity(kind, embeddings, name) for name in names], dim=1)
        return [names[i] for i in scores.argmax(1).tolist()], scores

    def clip_scores(self, embeddings: Tensor, prompts: Sequence[str]) -> Tensor:
        """Return the CLIPScore ``(n,)`` of each image and its prompt: 100 times the cosine, at least 0, as in torchmetrics."""
        return 100 * (embeddings * self.embed_texts(prompts).to(embeddings)).sum(1).clamp(min=0)


def open_judge(
    folder: Path,
    model_dir: Path,
    profile: Profile,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> Judge:
    """Load the judge in a folder.

    Args:
        folder: a transformers model with its tokenizer and image processor.
        model_dir: the model to be edited.
        profile: the classes that the judge knows.
        device: where the judge computes.
        dtype: its floating-point type; None for float32.

    Raises:
        JudgeError: the folder has no judge, no judge class is declared for its model type, or it shares a weights file or a
            weight matrix with a text encoder of the model to be edited.
    """
    weights, model_type = judge_weights(folder), judge_model_type(folder)
    check_independence(weights, model_dir)
    versions = tuple(file_version(path) for path in sorted(folder.iterdir()) if path.is_file())
    described = profile.model_dump_json()
    return _load_judge(judge_class(model_type), folder.resolve(), versions, described, torch.device(device), dtype)


@lru_cache(JUDGES_IN_MEMORY)
def _load_judge(
    judge: Callable[[Path, Profile], Judge],
    folder: Path,
    versions: tuple[FileVersion, ...],
    profile: str,
    device: torch.device,
    dtype: torch.dtype | None,
) -> Judge:
    """Load a judge, or return the one in memory with the classes that it has embedded. A changed file loads it again."""
    return judge(folder, Profile.model_validate_json(profile)).to(device, dtype)


def judge_weights(folder: Path) -> list[Path]:
    """Return the weight files of a judge: one file, a variant such as ``model.fp16.safetensors``, or shards.

    Raises:
        JudgeError: there are none.
    """
    try:
        return find_weights(folder, folder)
    except CheckpointError as error:
        raise JudgeError(f"There is no judge in {folder}: {error.message}", **missing_weights(folder)) from error


def missing_weights(folder: Path) -> dict[str, str]:
    """Return field and remedy for a folder without weights that transformers can read."""
    if any((folder / name).exists() for name in OPEN_CLIP_FILES):
        remedy = (
            "The folder has OpenCLIP's own layout: choose the same model in the layout of transformers (CLIPModel)."
        )
    elif any(folder.glob("*.bin")):
        remedy = "Pickle files are never read: save the judge with safe_serialization=True."
    else:
        remedy = (
            "Set EXPUNGE_JUDGE to the folder of a CLIP or SigLIP model with its tokenizer, or switch validation off."
        )
    return {"field": JUDGE_SETTING, "remedy": remedy}


def judge_model_type(folder: Path) -> str:
    """Return the ``model_type`` of a judge's ``config.json``. Raises JudgeError: it can't be read."""
    try:
        return str(read_json(folder / "config.json").get("model_type"))
    except CheckpointError as error:
        raise JudgeError(error.message, **missing_weights(folder)) from error


def weights_digest(paths: Sequence[Path]) -> str:
    """Return the digest of a file, or one digest of the digests of several."""
    digests = [file_digest(path) for path in paths]
    return digests[0] if len(digests) == 1 else sha256_hex("\n".join(digests))


def judge_class(model_type: str) -> Callable[[Path, Profile], Judge]:
    """Return the judge class that is declared for a ``model_type``. Raises JudgeError: there is none."""
    found: Callable[[Path, Profile], Judge] | None = load(JUDGES, model_type)
    if found is None:
        known = ", ".join(list_names(JUDGES))
        raise JudgeError(
            f"No judge is declared for model type {model_type!r}.",
            field=JUDGE_SETTING,
            remedy=f"Choose a judge of one of the model types {known}, or install a distribution that supports this one.",
        )
    return found
