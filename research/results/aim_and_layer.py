"""Compare what an edit matches, and at which layer, in text space: ``python -m research.results aims``.

No images are generated. Ideally the last states of prompts about the concept equal those of the destination's prompts, and
those of other prompts do not change. The encoders are the embedded one and one of CLIP-L's geometry.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from pydantic import BaseModel
from torch import Tensor

from editor.checkpoints import TextEncoder, open_checkpoint
from editor.checkpoints.tokenizers import open_tokenizer
from editor.jobs.forecast import update_by_projection
from editor.methods.config import MethodConfig
from editor.methods.encoder_edit import edit_encoder
from editor.prompts import Concept, Destination, PromptBuilder, PromptPair, ResolvedRemoval
from editor.prompts.profile import general_profile
from editor.sites.lazy_clip import LazyCLIPTextModel
from research.harness import EmbeddedModel

AIMS = {
    "attention output, layer 0": MethodConfig(),
    "residual stream, layer 0": MethodConfig(aim="residual"),
    "last states, layer 0": MethodConfig(aim="last_layer"),
    "attention output, layers 0 and 1": MethodConfig(layers=(0, 1)),
    "residual stream, layers 0 and 1": MethodConfig(aim="residual", layers=(0, 1)),
    "attention output, last layer but one": MethodConfig(layers=(-2,)),
}
EMBEDDED, RANDOM = "emoji", "CLIP-L geometry, random weights"
REMOVALS = {
    EMBEDDED: (
        ResolvedRemoval(Concept("fox"), Destination("dog face", "replacement")),
        ResolvedRemoval(Concept("pizza"), Destination("hamburger", "replacement")),
        ResolvedRemoval(Concept("guitar"), Destination("trumpet", "replacement")),
    ),
    RANDOM: (ResolvedRemoval(Concept("snoopy"), Destination("dog", "replacement")),),
}
RANDOM_LAYERS = 4
"""Layers of the random encoder; its width, heads, vocabulary and context are those of CLIP-L."""
PROMPTS = 12
RETAIN_PROMPTS = 48


class AimRow(BaseModel):
    """What one edit matches, on one encoder; mean over removals."""

    encoder: str
    method: str
    left: float
    """Distance of the last states to the destination's, as a share of the distance before the edit."""
    moved: float
    """Change of the retain prompts' last states, relative to their norm."""


def make_random_encoder(folder: Path) -> TextEncoder:
    """Return CLIP-L's text encoder at full width with random weights."""
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    shape = CLIPTextConfig(
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=RANDOM_LAYERS,
        num_attention_heads=12,
        eos_token_id=49407,
    )
    CLIPTextModel(shape).save_pretrained(folder / "text_encoder")
    return open_checkpoint(folder / "text_encoder").encoders[0]


def measure_aim(
    encoder: TextEncoder, prompt_builder: PromptBuilder, name: str, label: str, method: MethodConfig
) -> AimRow:
    """Measure one of `AIMS` over the encoder's removals."""
    layers = tuple(layer % encoder.layers for layer in method.layers)
    resolved = MethodConfig(aim=method.aim, layers=layers)
    figures = [measure_removal(encoder, prompt_builder, removal, resolved) for removal in REMOVALS[name]]
    left, moved = (sum(values) / len(figures) for values in zip(*figures, strict=True))
    return AimRow(encoder=name, method=label, left=left, moved=moved)


def measure_removal(
    encoder: TextEncoder, prompt_builder: PromptBuilder, removal: ResolvedRemoval, method: MethodConfig
) -> tuple[float, float]:
    """Return the figures ``left`` and ``moved``."""
    done = edit_encoder(encoder, prompt_builder, [removal], method)
    base = LazyCLIPTextModel(encoder)
    edited = base.with_updates(update_by_projection(done))
    pairs = prompt_builder.held_out_pairs(removal, PROMPTS)
    retain = prompt_builder.token_ids(
        prompt_builder.held_out_retain_texts(prompt_builder.retain_phrases([removal]), RETAIN_PROMPTS)
    )
    return remaining_distance(base, edited, pairs), relative_change(
        edited.final_states(retain), base.final_states(retain)
    )


def remaining_distance(base: LazyCLIPTextModel, edited: LazyCLIPTextModel, pairs: list[PromptPair]) -> float:
    """Return the distance to the destination after the edit over that before it, in summarized states."""
    concept, destination = (
        torch.stack([getattr(pair, side).ids for pair in pairs]) for side in ("concept", "destination")
    )
    eos = [torch.tensor([getattr(pair, side).eos for pair in pairs]) for side in ("concept", "destination")]
    target = summarize_states(base.final_states(destination), eos[1])
    before, after = (summarize_states(encoder.final_states(concept), eos[0]) for encoder in (base, edited))
    return float((after - target).norm() / (before - target).norm())


def summarize_states(states: Tensor, eos_positions: Tensor) -> Tensor:
    """Return mean over words, EOS, and mean over padding, ``(n, 3 d)``, which prompts of different lengths can compare."""
    position = torch.arange(states.shape[1])
    eos = eos_positions[:, None]
    masks = ((position > 0) & (position < eos), position == eos, position > eos)
    return torch.cat([(states * m[:, :, None]).sum(1) / m.sum(1, keepdim=True).clamp(min=1) for m in masks], dim=1)


def relative_change(after: Tensor, before: Tensor) -> float:
    """Return the mean relative change of the states after BOS."""
    return float(((after - before)[:, 1:].flatten(1).norm(dim=1) / before[:, 1:].flatten(1).norm(dim=1)).mean())


def measure(model: EmbeddedModel) -> Iterator[AimRow]:
    """Measure every row."""
    with tempfile.TemporaryDirectory() as folder:
        random = make_random_encoder(Path(folder))
        encoders = {EMBEDDED: (model.encoder, model.prompt_builder)}
        encoders[RANDOM] = (random, PromptBuilder(open_tokenizer(random), general_profile()))
        for name, (encoder, prompt_builder) in encoders.items():
            for label, method in AIMS.items():
                if method.aim != "last_layer" or name == EMBEDDED:
                    yield measure_aim(encoder, prompt_builder, name, label, method)


def render(rows: list[AimRow]) -> str:
    """Render the section."""
    lines = (f"| {row.encoder} | {row.method} | {row.left:.3f} | {row.moved:.3f} |" for row in rows)
    return "\n".join([TEXT, COLUMNS, *lines])


TEXT = """## What to match, and at which layer

Compared in text space, in held-out wordings. *Left* is the distance of the encoder's last states to the destination's, as a
share of the distance before the edit; *moved* is the change of the retain prompts' last states, relative to their norm. Lower
is better in both. Random weights show what the geometry allows, and nothing about real concepts; matching last states takes
minutes there and is left out.
"""
COLUMNS = """| encoder | matched | left | moved |
|---|---|---|---|"""
