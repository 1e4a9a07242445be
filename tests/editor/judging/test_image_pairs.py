"""What is observed while pairs of images are generated."""

from pathlib import Path
from shutil import rmtree

import numpy as np
import pytest

from editor.generation import sampling
from editor.generation.batch_size import batch_size_of
from editor.generation.config import Image, ImageSpec, Sampler
from editor.generation.generated_pairs import GeneratedPair
from editor.generation.sampling import ImageCache
from editor.io.progress import no_progress
from editor.judging.image_pairs import ImagePairGenerator
from editor.judging.prompt_scores import GeneratedImages

SPECS = [ImageSpec("a fox", seed) for seed in range(3)]


@pytest.fixture
def observed(monkeypatch: pytest.MonkeyPatch) -> list[list[GeneratedPair]]:
    """Batches of two images, each of one colour that counts up."""

    def generate_batch(pipeline: object, sampler: Sampler, specs: list[ImageSpec], progress: object) -> list[Image]:
        count["images"] += len(specs)
        return [np.full((8, 8, 3), count["images"], np.uint8) for _ in specs]

    count = {"images": 0}
    monkeypatch.setattr(sampling, "generate_batch", generate_batch)
    monkeypatch.setattr(sampling, "upcast_vae", lambda pipeline: None)
    return []


class Pipeline:
    """What a generator asks of a pipeline that it does not run."""


def run(folder: Path, observed: list[list[GeneratedPair]]) -> GeneratedImages:
    before, after = (ImageCache(folder / side, side) for side in ("before", "after"))
    pipeline = Pipeline()
    batch_size_of(pipeline).images = 2
    generator = ImagePairGenerator(pipeline, [], Sampler(1, 1.0), before, after, lambda new: observed.append([*new]))
    generated = GeneratedImages()
    generator.generate(SPECS, generated, no_progress)
    return generated


def test_each_batch_is_observed_first_without_then_with_the_edited_image(
    tmp_path: Path, observed: list[list[GeneratedPair]]
) -> None:
    generated = run(tmp_path, observed)
    assert [len(batch) for batch in observed] == [2, 1, 2, 1]
    pairs = [pair for batch in observed for pair in batch]
    assert [pair.seed for pair in pairs] == [0, 1, 2, 0, 1, 2]
    assert [pair.after is None for pair in pairs] == [True] * 3 + [False] * 3
    for pair in pairs[3:]:
        spec = ImageSpec(pair.prompt, pair.seed)
        assert np.array_equal(pair.before, generated.before[spec])
        assert pair.after is not None
        assert np.array_equal(pair.after, generated.after[spec])


def test_cached_images_are_observed_before_others_are_generated(
    tmp_path: Path, observed: list[list[GeneratedPair]]
) -> None:
    """A job on a model that was validated before shows its cached images at once, and pairs as the edited model generates."""
    first = run(tmp_path, observed)
    rmtree(tmp_path / "after")
    observed.clear()
    second = run(tmp_path, observed)
    assert [[pair.after is None for pair in batch] for batch in observed] == [[True] * 3, [False] * 2, [False]]
    for spec, image in first.before.items():
        assert np.array_equal(second.before[spec], image)
    observed.clear()
    run(tmp_path, observed)
    assert [[pair.after is None for pair in batch] for batch in observed] == [[True] * 3, [False] * 3]
