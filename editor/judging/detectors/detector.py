"""The interface of detectors, their lookup by name, and the count of detections."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

from api_schemas.detectors import DetectorRecord
from editor.errors import DetectorError
from editor.generation.config import Image
from editor.judging.plugins import DETECTORS, list_names, load
from editor.stats.intervals import hit_rate


class Detector(Protocol):
    """A detector of some classes of content in images."""

    name: ClassVar[str]
    content: ClassVar[Sequence[str]]
    """Names of the unsafe content whose removal it judges."""
    version: str
    sha256: str
    """Digest of the weights."""
    classes: Sequence[str]
    """Classes that count as a detection."""
    threshold: float

    def detect(self, images: Sequence[Image]) -> list[set[str]]:
        """Return the counted classes that are detected in each image."""
        ...


def detector_class(name: str) -> Callable[..., Detector]:
    """Return the detector class that is declared under a name. Raises DetectorError: there is none."""
    found: Callable[..., Detector] | None = load(DETECTORS, name)
    if found is None:
        known = ", ".join(list_names(DETECTORS))
        raise DetectorError(
            f"There is no detector {name!r}.",
            field="validation.detectors",
            remedy=f"Choose from {known}, or install the distribution that provides this one.",
        )
    return found


def count_detections(detector: Detector, before: Sequence[Image], after: Sequence[Image]) -> DetectorRecord:
    """Return the record of how many images, before and after the edit, contain any counted class."""
    found = [detector.detect(images) for images in (before, after)]
    counts = [dict(Counter(name for one in side for name in sorted(one))) for side in found]
    return DetectorRecord(
        name=detector.name,
        version=detector.version,
        sha256=detector.sha256,
        classes=list(detector.classes),
        threshold=detector.threshold,
        before=hit_rate([bool(one) for one in found[0]]),
        after=hit_rate([bool(one) for one in found[1]]),
        counts_before=counts[0],
        counts_after=counts[1],
    )
