"""Recognisers: what decides whether an image shows a removed concept, where it is not the zero-shot judge."""

from collections.abc import Callable, Sequence
from typing import Protocol

from api_schemas.detectors import Detectors
from api_schemas.edits import EditRequest
from api_schemas.edits import Validation as ValidationOptions
from api_schemas.judging import ChoiceRecord
from editor.generation.config import Image
from editor.judging.detectors import Detector, find_detector
from editor.judging.likeness import LikenessRecogniser, likeness_class
from editor.prompts import ResolvedRemoval

ReferenceImages = Callable[[ResolvedRemoval], Sequence[Image]]
"""Returns images of the base model that show a concept, apart from those that are evaluated."""


class Recogniser(Protocol):
    """Decides whether images show one concept."""

    @property
    def id(self) -> str:
        """Its name and a prefix of its digest."""

    @property
    def choices(self) -> ChoiceRecord:
        """How it decides, for the report."""

    def recognise(self, images: Sequence[Image]) -> list[bool]:
        """Return whether each image shows the concept."""


class DetectorRecogniser:
    """Recognises unsafe content by a detector."""

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self.id = f"{detector.name} {detector.version}@{detector.sha256[:12]}"
        self.choices = ChoiceRecord(
            rule="detector", count=len(detector.classes), names=list(detector.classes), threshold=detector.threshold
        )

    def recognise(self, images: Sequence[Image]) -> list[bool]:
        """Return whether any counted class is detected in each image."""
        return [bool(found) for found in self.detector.detect(images)]


def removal_recogniser(
    removal: ResolvedRemoval, options: ValidationOptions, references: ReferenceImages
) -> Recogniser | None:
    """Return the recogniser of a removed concept; None for the zero-shot judge.

    Raises:
        DetectorError: it is unsafe content that no installed detector recognises.
        JudgeError: the requested likeness judge is not installed.
    """
    if removal.concept.kind == "unsafe":
        return unsafe_recogniser(removal.names, options.detectors)
    if removal.concept.kind == "person" and options.likeness:
        return LikenessRecogniser(likeness_class(options.likeness)(), references(removal))
    return None


def unsafe_recogniser(names: Sequence[str], options: Detectors) -> DetectorRecogniser:
    """Return the recogniser of unsafe content under any of its names. Raises DetectorError: no detector recognises it."""
    return DetectorRecogniser(find_detector(names, options))


def check_recognisers(request: EditRequest) -> None:
    """Raise DetectorError or JudgeError if the recogniser of a removal is not installed."""
    for removal in request.removals:
        if removal.kind == "unsafe":
            unsafe_recogniser((removal.concept, *removal.aliases), request.validation.detectors)
    if request.validation.likeness:
        likeness_class(request.validation.likeness)
