"""Remove objects and styles one at a time and write the table: ``python -m editor.emoji.results``.

For the default and the ``paper`` preset: accuracy on the concept's own prompts, trained and held-out wordings, and on
everything else, before and after, by the judge.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from editor import emoji
from editor.checkpoints import file_digest, open_checkpoint, weight_files
from editor.emoji.measure import grid
from editor.judging.judge import Image, Judge, open_judge
from editor.judging.sampling import (
    ImageCache,
    Sampler,
    Shot,
    draw,
    load_pipeline,
    native_precision,
    put_base,
    put_edited,
)
from editor.prompts import Concept, PromptBook, Removal, destination_of, open_book
from editor.prompts.concepts import Phrase
from editor.prompts.contexts import evenly
from editor.quickfix.edit import edit
from editor.quickfix.method import Method, Preset

OBJECTS = {
    "fox": "dog face", "cat face": "", "pizza": "hamburger", "rocket": "", "owl": "penguin", "banana": "",
    "guitar": "trumpet", "sun": "crescent moon", "skull": "", "umbrella": "balloon",
}  # fmt: skip
STYLE_REMOVALS = {"ink": "", "noto": "fluent", "twemoji": "", "openmoji": "", "fluent": ""}
SAMPLER = Sampler(steps=20, guidance=3.0, precision=native_precision())
PRESETS: tuple[Preset, ...] = ("default", "paper")


@dataclass(frozen=True)
class Row:
    """One removal under one preset."""

    preset: Preset
    removal: Removal
    target_before: float
    target_after: float
    object_drop: float
    style_drop: float
    solve_seconds: float
    preservation: float

    def line(self) -> str:
        """A row of the table."""
        words = self.removal.destination.words or "(null)"
        return (
            f"| {self.removal.concept.name} | {self.removal.concept.kind} | {words} | {self.target_before:.3f} "
            f"| {self.target_after:.3f} | {self.object_drop:+.3f} | {self.style_drop:+.3f} "
            f"| {self.preservation:g} | {self.solve_seconds * 1000:.0f} ms |"
        )


@dataclass(frozen=True)
class Bench:
    """The model, its judge, and images of the unedited model."""

    judge: Judge
    pipeline: Any
    book: PromptBook
    cache: ImageCache
    others: int

    def named(self, removal: Removal) -> list[Phrase]:
        """Prompts about the concept: the grid's, and the same in held-out wordings."""
        own = [phrase for phrase in grid() if removal.concept.name in (phrase.object, phrase.style)]
        own = evenly(own, 16)
        return own + self.book.held_out(own)

    def unnamed(self, removal: Removal) -> list[Phrase]:
        """Prompts of the grid about everything else."""
        return evenly([p for p in grid() if removal.concept.name not in (p.object, p.style)], self.others)

    def row(self, preset: Preset, removal: Removal, base: Path) -> Row:
        """Edit, draw, judge; leaves the pipeline as it was."""
        (done,) = edit(open_checkpoint(base).encoders[0], self.book, [removal], Method(preset))
        named, others = self.named(removal), self.unnamed(removal)
        shots = [Shot(phrase.text(), 0) for phrase in named + others]
        before = self.cache.draw(self.pipeline, SAMPLER, shots)
        put_edited(self.pipeline, [done.update])
        after = draw(self.pipeline, SAMPLER, shots)
        put_base(self.pipeline, [done.update])
        count, kind = len(named), removal.concept.kind
        return Row(
            preset,
            removal,
            self.accuracy(before[:count], named, kind),
            self.accuracy(after[:count], named, kind),
            self.accuracy(before[count:], others, "object") - self.accuracy(after[count:], others, "object"),
            self.accuracy(before[count:], others, "style") - self.accuracy(after[count:], others, "style"),
            done.record.seconds,
            done.record.preservation,
        )

    def accuracy(self, images: Sequence[Image], phrases: Sequence[Phrase], asks: Any) -> float:
        """Share of images in which the judge finds what the prompt asked for."""
        found, _ = self.judge.recognise(asks, self.judge.images(images), self.judge.names(asks))
        hits: list[bool] = [name == getattr(phrase, asks) for name, phrase in zip(found, phrases, strict=True)]
        return sum(hits) / len(hits)


def removals(book: PromptBook) -> Iterator[Removal]:
    """What the table is about."""
    for kind, names in (("object", OBJECTS), ("style", STYLE_REMOVALS)):
        for name, replacement in names.items():
            concept = Concept(name, kind)  # type: ignore[arg-type]
            yield Removal(concept, destination_of(concept, replacement or None, None, book.profile))


def table(rows: Sequence[Row]) -> str:
    """The document."""
    parts = [HEADER]
    for preset in PRESETS:
        parts += [f"\n## Preset `{preset}`\n", COLUMNS, *(row.line() for row in rows if row.preset == preset)]
    return "\n".join(parts) + "\n"


HEADER = f"""# Results: one removal at a time

Written by `python -m editor.emoji.results`. Each row is an edit of the embedded model alone, judged by the separate judge on
images of one seed, {SAMPLER.steps} steps, guidance {SAMPLER.guidance:g}. *Target* is the accuracy on prompts that name the
concept, half of them in wordings that the edit never saw. *Drop* is how far accuracy falls on prompts about the other
objects and styles; below zero it rose. No replacement means the null concept (see [removal.md](removal.md)).
"""
COLUMNS = """| concept | kind | becomes | target before | target after | object drop | style drop | weight | solve |
|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"))
    parser.add_argument("--cache", type=Path, default=Path("build/images"))
    parser.add_argument("--others", type=int, default=96, help="prompts about other things")
    arguments = parser.parse_args()
    base, book = emoji.WEIGHTS, open_book(emoji.WEIGHTS)
    digest = "".join(file_digest(path) for path in weight_files(base).values())
    judge = open_judge(emoji.JUDGE, base, book.profile)
    bench = Bench(judge, load_pipeline(base), book, ImageCache(arguments.cache, digest), arguments.others)
    todo = [(preset, removal) for preset in PRESETS for removal in removals(book)]
    rows = [bench.row(preset, removal, base) for preset, removal in tqdm(todo, desc="removals")]
    arguments.out.write_text(table(rows))


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
