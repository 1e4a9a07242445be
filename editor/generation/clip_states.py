"""The CLIP text encoders of a pipeline, and the states with which they condition the denoiser."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from editor.generation.clip_runner import CLIPTextRunner
from editor.generation.config import Precision

CLIP_COMPONENTS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
"""Components that may be CLIP text encoders, with their tokenizers. In FLUX and SD3 others are T5 encoders."""


def clip_runners(pipeline: Any, precision: Precision = "float32") -> tuple[CLIPTextRunner, ...]:
    """Return the pipeline's CLIP text encoders, none for a family without.

    A family with two of them, SDXL or SD3, is conditioned on the states before their last layers.
    """
    found = [name for name in CLIP_COMPONENTS if type(getattr(pipeline, name, None)).__name__.startswith("CLIPText")]
    output: Literal["final", "penultimate"] = "penultimate" if len(found) > 1 else "final"
    return tuple(CLIPTextRunner(getattr(pipeline, name), output, name, precision) for name in found)


@torch.no_grad()
def encode_clip_states(pipeline: Any, prompts: Sequence[str]) -> Tensor:
    """Return the states of all CLIP text encoders side by side, ``(prompts, positions, sum of widths)``, on the CPU."""
    states = []
    for runner in clip_runners(pipeline):
        tokenizer = getattr(pipeline, CLIP_COMPONENTS[runner.name])
        tokens = tokenizer(
            list(prompts),
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        output = runner.encoder(tokens["input_ids"].to(runner.device), output_hidden_states=True)
        final = output.last_hidden_state if runner.output == "final" else output.hidden_states[-2]
        states.append(final.float().cpu())
    return torch.cat(states, dim=2)
