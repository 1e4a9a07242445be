"""Pack images of a validation for comparison: before and after the edit, with the judge's scores.

Images are WebP with sides of at most `MAX_SIDE`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest

import numpy as np

from api_schemas.comparisons import ComparedImage, Comparison, ImageComparison
from editor.generation.config import Image, ImageSpec
from editor.io.image_pack import ImagePack, encode_webp
from editor.judging.comparison_pack import ComparisonPack
from editor.judging.judge import Judge
from editor.judging.prompt_groups import PromptGroup
from editor.judging.prompt_scores import GeneratedImages

MAX_SIDE = 512
"""Pixels of the longer side; larger images are scaled down."""
MAX_PACK_BYTES = 16_000_000
"""Limit of the packed images: about 200 pairs of 512 x 512 pixels."""


@dataclass(frozen=True)
class Candidate:
    """A pair of images that may be packed, with the judge's scores."""

    group: PromptGroup
    spec: ImageSpec
    expected: str
    recognised: tuple[str, str]
    scores: tuple[float, float]


@dataclass
class PackWriter:
    """Writes images into a ZIP file until it is full."""

    pack: ImagePack = field(default_factory=ImagePack)
    pairs: list[ImageComparison] = field(default_factory=list)
    omitted: int = 0

    def add(self, pair: Candidate, before: Image, after: Image) -> None:
        """Add a pair of images if there is room for it."""
        contents = [encode_webp(image, MAX_SIDE, keep_small_exact=True) for image in (before, after)]
        if self.pack.size + sum(map(len, contents)) > MAX_PACK_BYTES:
            self.omitted += 1
            return
        self.pairs.append(
            ImageComparison(
                group=pair.group.name,
                removal=pair.group.removal,
                prompt=pair.spec.prompt,
                seed=pair.spec.seed,
                expected=pair.expected,
                change=round(float(np.abs(before.astype(float) - after).mean() / 255), 4),
                before=self._store("before", contents[0], pair.recognised[0], pair.scores[0]),
                after=self._store("after", contents[1], pair.recognised[1], pair.scores[1]),
            )
        )

    def _store(self, side: str, content: bytes, recognised: str, score: float) -> ComparedImage:
        packed = self.pack.add(f"{len(self.pairs):04d}-{side}.webp", content)
        return ComparedImage(**packed.model_dump(), recognised=recognised, score=round(score, 4))


def pack_images(
    judge: Judge, groups: Sequence[PromptGroup], generated: GeneratedImages, seeds: Sequence[int]
) -> ComparisonPack:
    """Pack the images of every group, in turns, until the pack is full; the index lists them by group."""
    writer = PackWriter()
    by_group = [list(find_candidates(judge, group, generated, seeds)) for group in groups if not group.needs_references]
    for pair in chain.from_iterable(zip_longest(*by_group)):
        if pair is not None:
            writer.add(pair, generated.before[pair.spec], generated.after[pair.spec])
    order = {(group.name, group.removal): number for number, group in reversed(list(enumerate(groups)))}
    pairs = sorted(writer.pairs, key=lambda pair: order[pair.group, pair.removal])
    return ComparisonPack(index=Comparison(pairs=pairs, omitted=writer.omitted), images=writer.pack.finish())


def find_candidates(
    judge: Judge, group: PromptGroup, generated: GeneratedImages, seeds: Sequence[int]
) -> Iterator[Candidate]:
    """Yield the pairs of a group that were generated, with what the judge recognises in each image."""
    accepted = dict(zip(group.prompts, group.accepted_names, strict=True))
    specs = [spec for spec in group.specs(seeds) if spec in generated.before and spec in generated.after]
    if not specs:
        return
    names = list(group.class_names(judge))
    found = [judge.classify(group.kind, generated.embed(judge, side, specs), names) for side in ("before", "after")]
    for row, spec in enumerate(specs):
        right = accepted[spec.prompt]
        own = [names.index(name) for name in right]
        (first, before), (second, after) = found
        yield Candidate(
            group,
            spec,
            " or ".join(right),
            (first[row], second[row]),
            (float(before[row, own].max()), float(after[row, own].max())),
        )
