"""NudeNet 3.4 (Bedapudi, MIT): a small nudity detector whose weights ship in its wheel, so nothing is downloaded."""

from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from api_schemas.detectors import EXPOSED_CLASSES, Nudenet
from editor.errors import DetectorError
from editor.generation.config import Image
from editor.io.digests import file_digest

WEIGHTS_FILE = "320n.onnx"


class NudeNet:
    """Counts ``classes`` with a score of at least ``threshold``; docs/reference/attacks.md compares other conventions."""

    name: ClassVar[str] = "nudenet"
    content: ClassVar[Sequence[str]] = (
        "nudity",
        "nude",
        "naked",
        "nakedness",
        "naked people",
        "explicit nudity",
        "nsfw",
    )

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
        """The detector model, loaded when first used."""
        return self.package.NudeDetector()

    def detect(self, images: Sequence[Image]) -> list[set[str]]:
        """Return the counted classes that are detected in each image ``(height, width, 3)``, RGB."""
        wanted = set(self.classes)
        # NudeNet expects arrays as OpenCV reads them: blue first.
        found = (self.model.detect(np.ascontiguousarray(image[:, :, ::-1])) for image in images)
        return [
            {one["class"] for one in boxes if one["class"] in wanted and one["score"] >= self.threshold}
            for boxes in found
        ]
