"""Erasure capacity: how many objects a text encoder can erase before others are lost, measured before a UNet is trained.

A removed or retained object counts as present when the nearest artwork to its edited prompt, in the image space of the CLIP
that the encoder was trained in, shows it. No image is generated, so this takes seconds.
``python -m research.emoji.erasure_capacity`` trains encoders of several widths, equally long, and writes ``docs/room.json``.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from editor.checkpoints import open_checkpoint
from editor.emoji.composites import Artwork, Subject
from editor.emoji.profile import PROFILE
from editor.emoji.vocabulary import HELD_OUT_WORDINGS, OBJECT_NAMES, STYLES, caption
from editor.methods.default import edit_encoder
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval
from editor.prompts.templates import evenly_spaced
from research.emoji.assemble import text_encoder_of
from research.emoji.train_clip import ENCODER, ENCODER_PLAN, train_clip
from research.emoji.train_tokenizer import train_tokenizer


@dataclass(frozen=True)
class Room:
    """Shares of prompts whose nearest artwork shows the object they name."""

    removals: int
    removed_before: float
    removed_after: float
    kept_before: float
    kept_after: float
    preservation: float
    """Weight that the search chose."""


def removals_of(names: Sequence[str]) -> list[ResolvedRemoval]:
    """Each object becomes one that is kept."""
    kept = [name for name in OBJECT_NAMES if name not in names]
    return [
        ResolvedRemoval(Concept(name), Destination(kept[(7 * i + 3) % len(kept)], "replacement"))
        for i, name in enumerate(names)
    ]


@torch.no_grad()
def found(clip: CLIPModel, book: PromptBuilder, gallery: Tensor) -> Tensor:
    """For every object and style, whether the nearest artwork shows the object: (objects, styles)."""
    grid = [(o, s) for o in range(len(OBJECT_NAMES)) for s in range(len(STYLES))]
    texts = [
        caption(HELD_OUT_WORDINGS[i % len(HELD_OUT_WORDINGS)], OBJECT_NAMES[o], STYLES[s])
        for i, (o, s) in enumerate(grid)
    ]
    embedded = F.normalize(clip.text_projection(clip.text_model(book.token_ids(texts)).pooler_output))
    nearest = (embedded @ gallery.T).argmax(1) // len(STYLES)
    return (nearest == torch.tensor([o for o, _ in grid])).reshape(len(OBJECT_NAMES), len(STYLES)).float()


def share(hits: Tensor, objects: Tensor) -> float:
    """Mean over some objects and all styles."""
    return float(hits[objects].mean())


def room(clip: CLIPModel, tokenizer: CLIPTokenizer, model_dir: Path, counts: Sequence[int] = (1, 10, 50)) -> list[Room]:
    """The curve of one encoder: ``clip`` in memory, its text half saved in ``model_dir/text_encoder``."""
    book, source = PromptBuilder(tokenizer, PROFILE), open_checkpoint(model_dir).encoders[0]
    subjects = [Subject(o, s, 0) for o in range(len(OBJECT_NAMES)) for s in range(len(STYLES))]
    with torch.no_grad():
        seen = clip.vision_model(pixel_values=Artwork().render(subjects)).pooler_output
        gallery = F.normalize(clip.visual_projection(seen))
    before, curve = found(clip, book, gallery), []
    weight = clip.text_model.encoder.layers[0].self_attn.out_proj.weight
    for count in counts:
        names = evenly_spaced(OBJECT_NAMES, count)
        (done,) = edit_encoder(source, book, removals_of(names))
        with torch.no_grad():
            weight.copy_(done.update.edited)
        after = found(clip, book, gallery)
        with torch.no_grad():
            weight.copy_(done.update.base)
        gone = torch.tensor([name in names for name in OBJECT_NAMES])
        curve.append(
            Room(
                removals=count,
                removed_before=share(before, gone),
                removed_after=share(after, gone),
                kept_before=share(before, ~gone),
                kept_after=share(after, ~gone),
                preservation=done.record.preservation,
            )
        )
    return curve


def room_of_width(width: int, steps: int, folder: Path) -> list[Room]:
    """Train an encoder of some width from nothing and measure it."""
    tokenizer = train_tokenizer()
    shape = replace(ENCODER, text_width=width, text_mlp=2 * width)
    clip = train_clip(f"room-{width}", shape, replace(ENCODER_PLAN, steps=steps), tokenizer, folder)
    with tempfile.TemporaryDirectory() as model:
        text_encoder_of(clip).save_pretrained(Path(model) / "text_encoder")
        return room(clip, tokenizer, Path(model))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=[128, 256, 384])
    parser.add_argument("--steps", type=int, default=ENCODER_PLAN.steps)
    parser.add_argument("--folder", type=Path, default=Path("build/emoji"))
    parser.add_argument("--out", type=Path, default=Path("docs/room.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    curves = {
        width: [asdict(point) for point in room_of_width(width, arguments.steps, arguments.folder)]
        for width in arguments.widths
    }
    arguments.out.write_text(json.dumps({"steps": arguments.steps, "curves": curves}, indent=2) + "\n")


if __name__ == "__main__":
    main()
