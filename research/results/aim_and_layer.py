"""Where and what to match: aims and layers compared in text space, on the embedded encoder and on true CLIP-L geometry.

No image is drawn: the last states of prompts about the concept shall be those of the destination's prompts, the others shall
stay.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from pydantic import BaseModel
from torch import Tensor

from editor.checkpoints import TextEncoder, open_checkpoint
from editor.checkpoints.tokenizers import open_tokenizer
from editor.methods.config import MethodConfig
from editor.methods.default import edit_encoder
from editor.prompts import Concept, Destination, PromptBuilder, PromptPair, ResolvedRemoval
from editor.prompts.profile import GENERAL_PROFILE
from editor.sites.lazy_clip import LazyCLIPTextModel
from research.harness import Studio

METHODS = {
    "attention output, layer 0": MethodConfig(),
    "residual stream, layer 0": MethodConfig(aim="residual"),
    "last states, layer 0": MethodConfig(aim="last_layer"),
    "attention output, layers 0 and 1": MethodConfig(layers=(0, 1)),
    "residual stream, layers 0 and 1": MethodConfig(aim="residual", layers=(0, 1)),
    "attention output, last layer but one": MethodConfig(layers=(-2,)),
}
REMOVALS = {
    "emoji": (
        ResolvedRemoval(Concept("fox"), Destination("dog face", "replacement")),
        ResolvedRemoval(Concept("pizza"), Destination("hamburger", "replacement")),
        ResolvedRemoval(Concept("guitar"), Destination("trumpet", "replacement")),
    ),
    "CLIP-L geometry, random weights": (ResolvedRemoval(Concept("snoopy"), Destination("dog", "replacement")),),
}
LAYERS = 4
"""Of the random encoder: true width, heads, vocabulary and context, fewer layers."""
PROMPTS = 12
KEPT = 48


class Row(BaseModel):
    """One method on one encoder, mean over removals."""

    encoder: str
    method: str
    left: float
    """How far the last states remain from the destination's, as a share of the way."""
    moved: float
    """How far those of retain prompts move, relative to their norm."""


def random_encoder(folder: Path) -> TextEncoder:
    """CLIP-L's text encoder at true width with random weights."""
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    shape = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=LAYERS, num_attention_heads=12, eos_token_id=49407
    )
    CLIPTextModel(shape).save_pretrained(folder / "text_encoder")
    return open_checkpoint(folder / "text_encoder").encoders[0]


def row(encoder: TextEncoder, book: PromptBuilder, name: str, label: str, method: MethodConfig) -> Row:
    """One method, over the encoder's removals."""
    layers = tuple(layer % encoder.layers for layer in method.layers)
    figures = [
        compare(encoder, book, removal, MethodConfig(aim=method.aim, layers=layers)) for removal in REMOVALS[name]
    ]
    left, moved = (sum(side) / len(figures) for side in zip(*figures, strict=True))
    return Row(encoder=name, method=label, left=left, moved=moved)


def compare(
    encoder: TextEncoder, book: PromptBuilder, removal: ResolvedRemoval, method: MethodConfig
) -> tuple[float, float]:
    """Left and moved."""
    done = edit_encoder(encoder, book, [removal], method)
    base = LazyCLIPTextModel(encoder)
    edited = base.with_updates({one.record.layer: one.update.up @ one.update.down for one in done})
    pairs = book.held_out_pairs(removal, PROMPTS)
    kept = book.token_ids(book.held_out_retain_texts(book.retain_phrases([removal]), KEPT))
    return left_of(base, edited, pairs), relative(edited.final_states(kept), base.final_states(kept))


def left_of(base: LazyCLIPTextModel, edited: LazyCLIPTextModel, pairs: list[PromptPair]) -> float:
    """Distance to the destination after the edit over that before, over words' mean, EOS and padding's mean."""
    spoken, meant = (torch.stack([getattr(pair, side).ids for pair in pairs]) for side in ("concept", "destination"))
    ends = [torch.tensor([getattr(pair, side).eos for pair in pairs]) for side in ("concept", "destination")]
    wanted = summary(base.final_states(meant), ends[1])
    before, after = (summary(tower.final_states(spoken), ends[0]) for tower in (base, edited))
    return float((after - wanted).norm() / (before - wanted).norm())


def summary(states: Tensor, ends: Tensor) -> Tensor:
    """Mean over words, EOS, and mean over padding, (n, 3 d): prompts of different lengths compare."""
    place = torch.arange(states.shape[1])
    masks = ((place > 0) & (place < ends[:, None]), place == ends[:, None], place > ends[:, None])
    return torch.cat([(states * m[:, :, None]).sum(1) / m.sum(1, keepdim=True).clamp(min=1) for m in masks], dim=1)


def relative(after: Tensor, before: Tensor) -> float:
    """Mean relative movement after BOS."""
    return float(((after - before)[:, 1:].flatten(1).norm(dim=1) / before[:, 1:].flatten(1).norm(dim=1)).mean())


def measure(studio: Studio) -> Iterator[Row]:
    """Every row."""
    with tempfile.TemporaryDirectory() as folder:
        random = random_encoder(Path(folder))
        encoders = {"emoji": (studio.encoder, studio.book)}
        encoders["CLIP-L geometry, random weights"] = (random, PromptBuilder(open_tokenizer(random), GENERAL_PROFILE))
        for name, (encoder, book) in encoders.items():
            for label, method in METHODS.items():
                if method.aim != "last_layer" or name == "emoji":
                    yield row(encoder, book, name, label, method)


def page(rows: list[Row]) -> str:
    """The section."""
    lines = (f"| {one.encoder} | {one.method} | {one.left:.3f} | {one.moved:.3f} |" for one in rows)
    return "\n".join([TEXT, COLUMNS, *lines])


TEXT = """## What to match, and where

Compared in text space, in held-out wordings: *left* is how far the encoder's last states remain from the destination's, as a
share of the way; *moved* is how far those of retain prompts go, relative to their norm. Less is better in both. Random weights
say what the geometry allows, nothing about real concepts; matching last states takes minutes there and is left out.
"""
COLUMNS = """| encoder | matched | left | moved |
|---|---|---|---|"""
