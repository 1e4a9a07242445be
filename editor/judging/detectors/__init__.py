"""Detectors of one kind of content, one class a file."""

from api_schemas.detectors import Detectors
from editor.judging.detectors.detector import Detector, count_detections, detector_class

__all__ = ["Detector", "count_detections", "detector_class", "load_detectors"]


def load_detectors(wishes: Detectors) -> list[Detector]:
    """Return the detectors that a request switches on. Raises DetectorError: one is not installed."""
    wish = wishes.nudenet
    return [detector_class("nudenet")(wish.classes, wish.threshold)] if wish.enabled else []
