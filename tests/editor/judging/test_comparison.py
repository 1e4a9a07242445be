"""Packed images: each is where the index says, with the judge's scores; the pack is limited and reproducible."""

import hashlib
import io
import zipfile
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from PIL import Image

from editor import emoji
from editor.emoji.profile import PROFILE
from editor.generation.config import ImageSpec
from editor.judging import comparison
from editor.judging.comparison import pack_images
from editor.judging.comparison_pack import ComparisonPack
from editor.judging.judge import Judge, open_judge
from editor.judging.prompt_groups import PromptGroup
from editor.judging.prompt_scores import GeneratedImages
from editor.prompts.concepts import Phrase

SEEDS = [3, 4]
GROUP = PromptGroup(
    "target", 0, "object", (Phrase("a picture of", "fox", "noto"), Phrase("a picture of", "fox", "ink")), "fox"
)


@cache
def judge() -> Judge:
    return open_judge(emoji.JUDGE, emoji.WEIGHTS, PROFILE)


def images(groups: list[PromptGroup], side: int) -> GeneratedImages:
    """Return random images of a size; those after the edit differ."""
    generated = GeneratedImages()
    for group in groups:
        for spec in group.specs(SEEDS):
            generator = np.random.default_rng(spec.seed)
            generated.before[spec] = generator.integers(0, 255, (side, side, 3), dtype=np.uint8)
            generated.after[spec] = np.roll(generated.before[spec], 7 * spec.seed, axis=0)
    return generated


def pack(groups: list[PromptGroup], side: int = 64) -> ComparisonPack:
    return pack_images(judge(), groups, images(groups, side), SEEDS)


def test_images_are_where_the_index_says() -> None:
    packed, generated = pack([GROUP]), images([GROUP], 64)
    archive = zipfile.ZipFile(io.BytesIO(packed.images))
    assert archive.testzip() is None
    assert len(packed.index.pairs) == 4
    for pair in packed.index.pairs:
        spec = ImageSpec(pair.prompt, pair.seed)
        for image, original in ((pair.before, generated.before[spec]), (pair.after, generated.after[spec])):
            content = packed.images[image.offset : image.offset + image.size]
            assert content == archive.read(image.name)
            assert hashlib.sha256(content).hexdigest() == image.sha256
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(content)).convert("RGB")), original)
        difference = np.abs(generated.before[spec].astype(float) - generated.after[spec]).mean() / 255
        assert pair.change == pytest.approx(difference, abs=1e-4)


def test_scores_are_those_of_the_judge() -> None:
    generated = images([GROUP], 64)
    pair = pack([GROUP]).index.pairs[0]
    embedded = judge().embed_images([generated.before[ImageSpec(pair.prompt, pair.seed)]])
    names = list(GROUP.class_names(judge()))
    recognised, similarities = judge().classify("object", embedded, names)
    assert (pair.expected, pair.before.recognised) == ("fox", recognised[0])
    assert pair.before.score == pytest.approx(float(similarities[0, names.index("fox")]), abs=1e-3)


def test_same_images_give_the_same_bytes() -> None:
    assert pack([GROUP]) == pack([GROUP])


def test_large_images_are_scaled_and_the_pack_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(GROUP, name="retain", removal=None)
    whole = pack([GROUP, other], 640)
    image = whole.index.pairs[0].before
    width = Image.open(io.BytesIO(whole.images[image.offset : image.offset + image.size])).width
    assert width == comparison.MAX_SIDE
    monkeypatch.setattr(comparison, "MAX_PACK_BYTES", len(whole.images) // 2)
    limited = pack([GROUP, other], 640)
    assert len(limited.images) <= comparison.MAX_PACK_BYTES + 2000
    assert limited.index.omitted == len(whole.index.pairs) - len(limited.index.pairs) > 0
    assert {pair.group for pair in limited.index.pairs} == {"target", "retain"}


def test_images_that_were_not_generated_are_left_out() -> None:
    assert pack_images(judge(), [GROUP], GeneratedImages(), SEEDS).index.pairs == []
