"""Detectors for one kind of content; each is a file with one registered class."""

from api_schemas.detectors import Detectors
from editor.judging.detectors import nudenet
from editor.judging.detectors.registry import Detector, counted, find, register

__all__ = ["Detector", "counted", "find", "nudenet", "register", "wanted"]


def wanted(wishes: Detectors) -> list[Detector]:
    """Those that are on. Raises DetectorError: one is not installed here."""
    wish = wishes.nudenet
    return [find("nudenet")(wish.classes, wish.threshold)] if wish.enabled else []
