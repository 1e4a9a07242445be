"""Make the README's figure of two removals, before and after: ``python -m research.emoji.readme_figure``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from api_schemas.edits import EditRequest, Removal
from editor import emoji
from editor.checkpoints import open_checkpoint
from editor.generation.config import Image, ImageSpec
from editor.generation.edited_weights import apply_updates
from editor.generation.pipelines import load_pipeline
from editor.generation.sampling import generate_images
from editor.methods.encoder_edit import edit_encoder
from editor.prompts import open_prompt_builder
from editor.prompts.resolve_request import resolve_request
from research.emoji.evaluate import SAMPLER

SCALE = 2
LABEL_HEIGHT = 26
"""Height in pixels of the label above each pair of rows."""
EXAMPLES: tuple[tuple[str, Removal, tuple[str, ...]], ...] = (
    (
        "remove “fox”, becomes “dog face”",
        Removal(concept="fox", replacement="dog face"),
        (
            "a fox in the style of twemoji", "noto style fox", "a fluent emoji of a fox", "a fox, openmoji",
            "a fox, twemoji on a blue background", "a frog, twemoji", "a lion, noto", "a pizza, fluent", "a rocket, openmoji",
            "a tiger face, twemoji on a pink background",
        ),
    ),
    (
        "remove the style “ink”",
        Removal(concept="ink", kind="style"),
        (
            "an owl in the style of ink", "ink style guitar", "a sailboat, ink", "an ink emoji of a cactus",
            "a skull, ink on a yellow background", "an owl, openmoji", "a guitar, noto", "a sailboat, fluent",
            "a cactus, twemoji", "a skull, openmoji on a yellow background",
        ),
    ),
)  # fmt: skip


def generate_pairs(model_dir: Path, removal: Removal, prompts: Sequence[str]) -> tuple[list[Image], list[Image]]:
    """Generate images before and after a removal."""
    pipeline, specs = load_pipeline(model_dir), [ImageSpec(prompt, 1) for prompt in prompts]
    before = generate_images(pipeline, SAMPLER, specs)
    builder = open_prompt_builder(model_dir)
    removals = resolve_request(EditRequest(removals=[removal]), builder)
    edits = edit_encoder(open_checkpoint(model_dir).encoders[0], builder, removals)
    apply_updates(pipeline, [done.update for done in edits])
    return before, generate_images(pipeline, SAMPLER, specs)


def make_band(label: str, before: Sequence[Image], after: Sequence[Image]) -> Pillow.Image:
    """Return a labelled pair of rows."""
    tiles = np.concatenate([np.concatenate(list(before), axis=1), np.concatenate(list(after), axis=1)])
    picture = Pillow.fromarray(tiles).resize(
        (tiles.shape[1] * SCALE, tiles.shape[0] * SCALE), Pillow.Resampling.BICUBIC
    )
    canvas = Pillow.new("RGB", (picture.width, picture.height + LABEL_HEIGHT), "white")
    canvas.paste(picture, (0, LABEL_HEIGHT))
    text = f"{label}: above before, below after; the left half names it, the right half must stay"
    ImageDraw.Draw(canvas).text((4, 5), text, fill="black", font=ImageFont.load_default(size=15))
    return canvas


def main() -> None:
    """Write the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=emoji.WEIGHTS)
    parser.add_argument("--out", type=Path, default=Path("docs/images/before-after.png"))
    arguments = parser.parse_args()
    bands = [
        make_band(label, *generate_pairs(arguments.model, removal, prompts)) for label, removal, prompts in EXAMPLES
    ]
    picture = Pillow.new("RGB", (bands[0].width, sum(part.height for part in bands)), "white")
    top = 0
    for part in bands:
        picture.paste(part, (0, top))
        top += part.height
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    picture.save(arguments.out, optimize=True)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
