"""What the validate phase asks of the base model's images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from editor.generation.config import Image, ImageSpec, Sampler
from editor.generation.sampling import ImageCache
from editor.jobs.validate_phase import base_images
from editor.judging.image_pairs import ImagePairGenerator


class NumberedImages(ImageCache):
    """Returns an image of the seed's colour for each spec, and notes what it was asked for."""

    asked: ClassVar[list[ImageSpec]] = []

    def generate(self, pipeline: Any, sampler: Sampler, specs: Sequence[ImageSpec], *_: Any) -> list[Image]:
        self.asked.extend(specs)
        return [np.full((2, 2, 3), spec.seed, np.uint8) for spec in specs]


def test_a_prompt_of_two_names_is_generated_once_and_returned_for_both(tmp_path: Path) -> None:
    cache = NumberedImages(tmp_path, "digest")
    images = ImagePairGenerator(None, [], Sampler(1, 1.0), cache, cache)
    specs = [ImageSpec("a cat, ink", 7), ImageSpec("a dog, ink", 8), ImageSpec("a cat, ink", 7)]
    assert [int(image[0, 0, 0]) for image in base_images(images, specs)] == [7, 8, 7]
    assert cache.asked == specs[:2]
