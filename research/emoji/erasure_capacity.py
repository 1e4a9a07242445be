"""Measure how many objects a text encoder can lose before others degrade: ``python -m research.emoji.erasure_capacity``.

An object counts as present if the artwork nearest to its edited prompt, in the embedding space of the CLIP that the encoder was
trained in, shows it. No images are generated and no UNet is needed, so this takes seconds. The programme trains encoders of
several widths for an equal number of steps, and writes ``docs/room.json``.
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
from editor.methods.config import MethodConfig
from editor.methods.encoder_edit import edit_encoder
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval
from editor.prompts.templates import evenly_spaced
from research.emoji.assemble import extract_text_encoder
from research.emoji.train_clip import ENCODER, ENCODER_PLAN, train_clip
from research.emoji.train_tokenizer import train_tokenizer


@dataclass(frozen=True)
class ErasureCapacity:
    """Shares of prompts whose nearest artwork shows the object they name."""

    removals: int
    removed_before: float
    removed_after: float
    kept_before: float
    kept_after: float
    preservation: float
    """Preservation weight that the search chose."""


def make_removals(names: Sequence[str]) -> list[ResolvedRemoval]:
    """Map each object to a retained one."""
    retained = [name for name in OBJECT_NAMES if name not in names]
    return [
        ResolvedRemoval(Concept(name), Destination(retained[(7 * i + 3) % len(retained)], "replacement"))
        for i, name in enumerate(names)
    ]


@torch.no_grad()
def find_present_objects(clip: CLIPModel, builder: PromptBuilder, gallery: Tensor) -> Tensor:
    """Return for every object and style whether the nearest artwork shows the object, ``(objects, styles)``."""
    grid = [(o, s) for o in range(len(OBJECT_NAMES)) for s in range(len(STYLES))]
    texts = [
        caption(HELD_OUT_WORDINGS[i % len(HELD_OUT_WORDINGS)], OBJECT_NAMES[o], STYLES[s])
        for i, (o, s) in enumerate(grid)
    ]
    embedded = F.normalize(clip.text_projection(clip.text_model(builder.token_ids(texts)).pooler_output))
    nearest = (embedded @ gallery.T).argmax(1) // len(STYLES)
    return (nearest == torch.tensor([o for o, _ in grid])).reshape(len(OBJECT_NAMES), len(STYLES)).float()


def mean_over(hits: Tensor, objects: Tensor) -> float:
    """Average over some objects and all styles."""
    return float(hits[objects].mean())


def measure_capacity(
    clip: CLIPModel, tokenizer: CLIPTokenizer, model_dir: Path, counts: Sequence[int] = (1, 10, 50)
) -> list[ErasureCapacity]:
    """Return the capacity curve of ``clip``, whose text encoder is saved in ``model_dir/text_encoder``."""
    builder, source = PromptBuilder(tokenizer, PROFILE), open_checkpoint(model_dir).encoders[0]
    subjects = [Subject(o, s, 0) for o in range(len(OBJECT_NAMES)) for s in range(len(STYLES))]
    with torch.no_grad():
        embedded_images = clip.vision_model(pixel_values=Artwork().render(subjects)).pooler_output
        gallery = F.normalize(clip.visual_projection(embedded_images))
    before, curve = find_present_objects(clip, builder, gallery), []
    weight = clip.text_model.encoder.layers[0].self_attn.out_proj.weight
    for count in counts:
        names = evenly_spaced(OBJECT_NAMES, count)
        (done,) = edit_encoder(source, builder, make_removals(names), MethodConfig(spread=False))
        with torch.no_grad():
            weight.copy_(done.update.edited)
        after = find_present_objects(clip, builder, gallery)
        with torch.no_grad():
            weight.copy_(done.update.base)
        removed = torch.tensor([name in names for name in OBJECT_NAMES])
        curve.append(
            ErasureCapacity(
                removals=count,
                removed_before=mean_over(before, removed),
                removed_after=mean_over(after, removed),
                kept_before=mean_over(before, ~removed),
                kept_after=mean_over(after, ~removed),
                preservation=done.record.preservation,
            )
        )
    return curve


def train_and_measure(width: int, steps: int, folder: Path) -> list[ErasureCapacity]:
    """Train an encoder of one width from scratch, and measure it."""
    tokenizer = train_tokenizer()
    shape = replace(ENCODER, text_width=width, text_mlp=2 * width)
    clip = train_clip(f"room-{width}", shape, replace(ENCODER_PLAN, steps=steps), tokenizer, folder)
    with tempfile.TemporaryDirectory() as model:
        extract_text_encoder(clip).save_pretrained(Path(model) / "text_encoder")
        return measure_capacity(clip, tokenizer, Path(model))


def main() -> None:
    """Measure encoders of the widths given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=[128, 256, 384])
    parser.add_argument("--steps", type=int, default=ENCODER_PLAN.steps)
    parser.add_argument("--folder", type=Path, default=Path("build/emoji"))
    parser.add_argument("--out", type=Path, default=Path("docs/room.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    curves = {
        width: [asdict(point) for point in train_and_measure(width, arguments.steps, arguments.folder)]
        for width in arguments.widths
    }
    arguments.out.write_text(json.dumps({"steps": arguments.steps, "curves": curves}, indent=2) + "\n")


if __name__ == "__main__":
    main()
