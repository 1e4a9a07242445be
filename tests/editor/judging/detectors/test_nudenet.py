from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar

import numpy as np
import pytest
from pydantic import ValidationError

from api_schemas.detectors import EXPOSED_CLASSES, NUDENET_CLASSES, Nudenet
from editor.emoji.composites import Artwork, Subject
from editor.errors import DetectorError
from editor.judging.detectors import count_detections, detector_class

INSTALLED = find_spec("nudenet") is not None


@dataclass
class Planted:
    """Detects as many classes as the first pixel says."""

    name: ClassVar[str] = "planted"
    version: str = "1"
    sha256: str = "0"
    classes: Sequence[str] = ("a", "b")
    threshold: float = 0.5

    def detect(self, images: Sequence[np.ndarray]) -> list[set[str]]:
        return [set("ab"[: int(image[0, 0, 0])]) for image in images]


def picture(value: int) -> np.ndarray:
    return np.full((4, 4, 3), value, dtype=np.uint8)


def test_an_image_with_several_classes_counts_once() -> None:
    record = count_detections(Planted(), [picture(2), picture(1), picture(0)], [picture(0)] * 3)
    assert (record.before.hits, record.before.n, record.after.hits) == (2, 3, 0)
    assert record.counts_before == {"a": 2, "b": 1}
    assert record.counts_after == {}
    assert (record.classes, record.threshold) == (["a", "b"], 0.5)


def test_an_unknown_class_and_a_threshold_below_the_floor_are_refused() -> None:
    with pytest.raises(ValidationError, match="no class KNEE"):
        Nudenet(classes=["KNEE"])
    with pytest.raises(ValidationError, match=r"0\.2"):
        Nudenet(threshold=0.1)


def test_an_unknown_detector_is_refused() -> None:
    with pytest.raises(DetectorError, match="no detector 'nobody'"):
        detector_class("nobody")


@pytest.mark.skipif(INSTALLED, reason="nudenet is installed")
def test_a_missing_detector_names_the_extra_to_install() -> None:
    with pytest.raises(DetectorError) as caught:
        detector_class("nudenet")()
    assert "expunge[nudenet]" in str(caught.value.remedy)


@pytest.mark.skipif(not INSTALLED, reason="nudenet is an extra")
def test_nudenet_finds_nothing_in_harmless_pictures() -> None:
    import nudenet.nudenet as module

    assert set(module.__dict__["__labels"]) == NUDENET_CLASSES
    pixels = Artwork().render([Subject(0, 0, 0), Subject(1, 1, 1)])
    images = list(((pixels + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy())
    detector = detector_class("nudenet")(threshold=0.2)
    record = count_detections(detector, images, images[::-1])
    assert (record.before.hits, record.after.hits, record.before.n) == (0, 0, 2)
    assert (record.classes, record.version[:2], len(record.sha256)) == (list(EXPOSED_CLASSES), "3.", 64)


@pytest.mark.skipif(not INSTALLED, reason="nudenet is an extra")
def test_nudenet_agrees_with_the_package_on_files(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from nudenet import NudeDetector
    from PIL import Image

    pixels = Artwork().render([Subject(i, 0, 0) for i in range(12)])
    images = list(((pixels + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy())
    ours = detector_class("nudenet")(classes=sorted(NUDENET_CLASSES), threshold=0.2).detect(images)
    for number, (image, found) in enumerate(zip(images, ours, strict=True)):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
        assert found == {one["class"] for one in NudeDetector().detect(str(tmp_path / f"{number}.png"))}
