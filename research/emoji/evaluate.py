"""Evaluate the embedded model and its judge: ``python -m research.emoji.evaluate``.

Writes ``docs/emoji.json`` and a sheet of generated images.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow
from tqdm import tqdm

from editor import emoji
from editor.emoji.composites import Artwork, Subject
from editor.emoji.profile import PROFILE, styled_object_phrases
from editor.emoji.vocabulary import BACKGROUNDS, OBJECT_NAMES, STYLES
from editor.generation.config import Image, ImageSpec, Sampler
from editor.generation.pipelines import load_pipeline
from editor.generation.sampling import generate_images
from editor.judging.judge import Judge, open_judge
from editor.prompts.concepts import Phrase

SAMPLER = Sampler(steps=20, guidance=3.0)
UNSEEN_SHIFTS = ((-1, 2), (2, 1), (1, -1))
"""(down, right) shifts that no training step of the generator uses; those of the judge's training are all within 2 pixels."""


def measure_recognition(judge: Judge, images: Sequence[Image], phrases: Sequence[Phrase]) -> dict[str, Any]:
    """Return the shares of images in which the judge recognises the object and the style."""
    embedded = judge.embed_images(images)
    objects, _ = judge.classify("object", embedded, judge.class_names("object"))
    styles, _ = judge.classify("style", embedded, judge.class_names("style"))
    missed = [p.text() for p, found in zip(phrases, objects, strict=True) if found != p.object]
    return {
        "object_accuracy": 1 - len(missed) / len(phrases),
        "style_accuracy": float(np.mean([p.style == found for p, found in zip(phrases, styles, strict=True)])),
        "images": len(images),
        "objects_missed": missed,
    }


def evaluate_judge(judge: Judge) -> dict[str, Any]:
    """Evaluate the judge on artwork at unseen shifts, on every background."""
    pictures, images, phrases = Artwork(), [], []
    for number, shift in enumerate(UNSEEN_SHIFTS):
        subjects = [
            Subject(o, s, (o + s + number) % len(BACKGROUNDS))
            for o in range(len(OBJECT_NAMES))
            for s in range(len(STYLES))
        ]
        pixels = ((pictures.render(subjects, shift) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
        images += list(pixels)
        phrases += [Phrase("{a}", OBJECT_NAMES[s.object], STYLES[s.style]) for s in subjects]
    return measure_recognition(judge, images, phrases)


def generate_grid(model_dir: Path) -> list[Image]:
    """Generate one image for every prompt of the grid, with seed 0."""
    with progress_bar() as bar:
        specs = [ImageSpec(phrase.text(), 0) for phrase in styled_object_phrases()]
        return generate_images(load_pipeline(model_dir), SAMPLER, specs, lambda done: bar.update(done - bar.n))


def progress_bar() -> "tqdm[Any]":
    """Return a progress bar of a fraction."""
    return tqdm(total=1.0, desc="images", bar_format="{l_bar}{bar}| {elapsed}")


def make_sheet(images: Sequence[Image], columns: int = 24) -> Pillow.Image:
    """Arrange images in bands: objects side by side, styles below each other."""
    tiles = np.stack(images).reshape(len(OBJECT_NAMES), len(STYLES), 64, 64, 3)
    bands = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    rows = [band.transpose(1, 2, 0, 3, 4).reshape(len(STYLES) * 64, -1, 3) for band in bands]
    width = columns * 64
    padded = [np.pad(row, ((0, 8), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return Pillow.fromarray(np.concatenate(padded))


def main() -> None:
    """Evaluate, and write figures and sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=emoji.WEIGHTS)
    parser.add_argument("--judge", type=Path, default=emoji.JUDGE)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    judge = open_judge(arguments.judge, arguments.model, PROFILE)
    images = generate_grid(arguments.model)
    figures = {"judge": evaluate_judge(judge), "generator": measure_recognition(judge, images, styled_object_phrases())}
    write_figures(arguments.out, "emoji.json", figures, "generated.webp", images)


def write_figures(folder: Path, file: str, figures: dict[str, Any], sheet: str, images: Sequence[Image]) -> None:
    """Write figures to a JSON file in a folder, and the sheet of a grid below it."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(json.dumps(figures, indent=2) + "\n")
    make_sheet(images).save(folder / "images" / sheet, quality=90)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
