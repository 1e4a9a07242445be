"""The usual way to edit a pipeline, as a program without our code: load it, apply the paper's closed form, save it.

``python job_peer.py MODEL OUT CONCEPT REPLACEMENT`` loads a diffusers folder, edits the first layer of each CLIP text encoder
as Diff-QuickFix's released code does, and saves the pipeline.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

PREFIXES = ("", "a photo of ", "an image of ", "a picture of ")
RIDGE = 0.01
FIRST_PROJECTION = "encoder.layers.0.self_attn.out_proj"


def edit_pipeline(model: Path, out: Path, concept: str, replacement: str) -> None:
    """Load a pipeline, edit its CLIP text encoders, and save it."""
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(model, dtype=torch.float16, local_files_only=True)
    for suffix in ("", "_2"):
        encoder = getattr(pipeline, f"text_encoder{suffix}", None)
        if encoder is not None:
            edit_as_published(encoder.float(), getattr(pipeline, f"tokenizer{suffix}"), concept, replacement)
            encoder.half()
    pipeline.save_pretrained(out)


@torch.no_grad()
def edit_as_published(encoder: Any, tokenizer: Any, concept: str, replacement: str) -> None:
    """Edit the first layer's output projection of a float32 encoder in place."""
    names = (name for name, _ in encoder.named_modules() if name.endswith(FIRST_PROJECTION))
    projection = encoder.get_submodule(next(names))
    prompts = [prefix + words for prefix in PREFIXES for words in (concept, replacement)]
    encoded = tokenizer(prompts, padding="max_length", return_tensors="pt")["input_ids"]
    keys, values = capture_io(projection, lambda: encoder(encoded))
    ends = (encoded == tokenizer.eos_token_id).int().argmax(1)
    rows = [
        (
            keys[i, ends[i] - 1 :],
            values[i + 1, align_positions(ends[i + 1] - 1, len(keys[i]) - int(ends[i]) + 1, len(keys[i]))],
        )
        for i in range(0, len(prompts), 2)
    ]
    k, v = (torch.cat(sides) for sides in zip(*rows, strict=True))
    identity, weight = torch.eye(k.shape[1]), projection.weight
    projection.weight.copy_((v.T @ k + RIDGE * weight) @ torch.inverse(k.T @ k + RIDGE * identity))


def capture_io(module: torch.nn.Module, forward: Callable[[], object]) -> tuple[Tensor, Tensor]:
    """Return a module's input and output during a forward pass."""
    captured: list[tuple[Tensor, Tensor]] = []
    handle = module.register_forward_hook(lambda _, inputs, output: captured.append((inputs[0], output)))
    forward()
    handle.remove()
    return captured[0]


def align_positions(first: Tensor, count: int, length: int) -> Tensor:
    """Return ``count`` positions from the destination's last subject token on, clamped to the last position."""
    return (first + torch.arange(count)).clamp(max=length - 1)


if __name__ == "__main__":
    edit_pipeline(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4])
