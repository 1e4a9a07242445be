"""Detectors for one kind of content; each is a file with one registered class."""

from editor.judging.detectors.nudenet import NudeNet
from editor.judging.detectors.registry import Detector, counted, find, register

__all__ = ["Detector", "NudeNet", "counted", "find", "register"]
