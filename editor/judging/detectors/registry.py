"""What a detector is, where detectors are found, and how one is counted."""

from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Any, ClassVar, Protocol, TypeVar

from api_schemas.detectors import DetectorRecord
from editor.errors import DetectorError
from editor.generation.config import Image
from editor.stats.intervals import hit_rate

GROUP = "expunge.detectors"
"""Entry points of other distributions: name -> class."""


class Detector(Protocol):
    """Finds classes of content in images."""

    name: ClassVar[str]
    version: str
    sha256: str
    """Of its weights."""
    classes: Sequence[str]
    """That are counted."""
    threshold: float

    def detect(self, images: Sequence[Image]) -> list[set[str]]:
        """Of each image, the counted classes that are in it."""
        ...


Class = TypeVar("Class", bound=Callable[..., Any])
REGISTERED: dict[str, Callable[..., Detector]] = {}


def register(detector: Class) -> Class:
    """Make a class known under its ``name``."""
    REGISTERED[detector.name] = detector  # type: ignore[attr-defined]
    return detector


def find(name: str) -> Callable[..., Detector]:
    """The class of a name: a built-in one, or one that an installed distribution brings.

    Raises:
        DetectorError: there is none.
    """
    if name in REGISTERED:
        return REGISTERED[name]
    for entry in entry_points(group=GROUP, name=name):
        found: Callable[..., Detector] = entry.load()
        return found
    raise DetectorError(
        f"There is no detector {name!r}.",
        field="validation.detectors",
        remedy="Install the distribution that brings it.",
    )


def counted(detector: Detector, before: Sequence[Image], after: Sequence[Image]) -> DetectorRecord:
    """Images before and after in which anything was found."""
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
