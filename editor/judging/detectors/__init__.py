"""Detectors of one kind of content, one class a file."""

from collections.abc import Sequence

from api_schemas.conflicts import normalize_words
from api_schemas.detectors import Detectors
from editor.errors import DetectorError
from editor.judging.detectors.detector import Detector, count_detections, detector_class
from editor.judging.plugins import DETECTORS, list_names

__all__ = ["Detector", "count_detections", "detector_class", "find_detector", "load_detectors"]


def load_detectors(wishes: Detectors) -> list[Detector]:
    """Return the detectors that a request switches on. Raises DetectorError: one is not installed."""
    wish = wishes.nudenet
    return [detector_class("nudenet")(wish.classes, wish.threshold)] if wish.enabled else []


def find_detector(names: Sequence[str], wishes: Detectors) -> Detector:
    """Return the detector that recognises content under one of its names, with the request's options.

    Raises:
        DetectorError: no detector recognises it, or the one that does is not installed.
    """
    wanted = {normalize_words(name) for name in names}
    for declared in list_names(DETECTORS):
        if not wanted.isdisjoint(map(normalize_words, recognised_content(declared))):
            own = wishes.nudenet if declared == "nudenet" else None
            return detector_class(declared)(own.classes, own.threshold) if own else detector_class(declared)()
    known = [content for declared in list_names(DETECTORS) for content in recognised_content(declared)]
    raise DetectorError(
        f"No installed detector recognises {names[0]!r}.",
        field="removals",
        remedy=f"Detectors recognise {', '.join(known)}. Name one of these as an alias, install another detector, "
        "or remove it as an object, which the judge recognises by its name.",
    )


def recognised_content(declared: str) -> Sequence[str]:
    """Return the names of the content that a declared detector recognises; none if it does not say."""
    names: Sequence[str] = getattr(detector_class(declared), "content", ())
    return names
