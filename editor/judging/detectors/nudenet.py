"""NudeNet 3.4 (Bedapudi, MIT): a small detector of nudity whose weights ship in its wheel, so that nothing is fetched."""

from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from api_schemas.detectors import EXPOSED_CLASSES, Nudenet
from editor.checkpoints import file_digest
from editor.errors import DetectorError
from editor.generation.config import Image

WEIGHTS_FILE = "320n.onnx"


class NudeNet:
    """``classes`` with a score of at least ``threshold`` count; see docs/reference/attacks.md for what others count."""

    name: ClassVar[str] = "nudenet"

    def __init__(self, classes: Sequence[str] = EXPOSED_CLASSES, threshold: float = Nudenet().threshold) -> None:
        try:
            import nudenet
        except ImportError as error:
            raise DetectorError(
                "NudeNet is not installed.",
                field="validation.detectors.nudenet",
                remedy="Install it where the editor runs: pip install 'expunge[nudenet]'.",
            ) from error
        self.package: Any = nudenet
        self.classes, self.threshold, self.version = tuple(classes), threshold, version("nudenet")
        self.sha256 = file_digest(Path(nudenet.__file__).parent / WEIGHTS_FILE)

    @cached_property
    def model(self) -> Any:
        """Opened when first used."""
        return self.package.NudeDetector()

    def detect(self, images: Sequence[Image]) -> list[set[str]]:
        """Of each image ``(height, width, 3)`` RGB, the counted classes that are in it."""
        wanted = set(self.classes)
        # It takes an array for what OpenCV reads from a file: blue first.
        found = (self.model.detect(np.ascontiguousarray(image[:, :, ::-1])) for image in images)
        return [
            {one["class"] for one in boxes if one["class"] in wanted and one["score"] >= self.threshold}
            for boxes in found
        ]
