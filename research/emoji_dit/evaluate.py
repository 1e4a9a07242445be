"""Evaluate `emoji-dit`, and each route of its text alone: ``python -m research.emoji_dit.evaluate``.

Writes ``docs/emoji_dit.json`` and a sheet of generated images.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from api_schemas.edits import Validation
from editor import emoji
from editor.emoji.profile import DIT_PROFILE, styled_object_phrases
from editor.generation.batch_size import MAX_IMAGES
from editor.generation.config import Image, Sampler
from editor.generation.device import DeviceSettings
from editor.generation.pipeline_call import call_pipeline
from editor.generation.pipelines import load_pipeline
from editor.jobs.sampler_settings import choose_sampler
from editor.judging.judge import open_judge
from research.emoji.evaluate import measure_recognition, progress_bar, write_figures

ROUTES = {"both": ("prompt", "prompt_2"), "sequence": ("prompt_2",), "pooled": ("prompt",)}
"""Arguments of the pipeline that get the prompt; the other gets the empty one. `prompt` is CLIP's, `prompt_2` T5's."""
TEXT_ARGUMENTS = ("prompt", "prompt_2")


def generate_grid(pipeline: Any, arguments: Sequence[str], sampler: Sampler) -> list[Image]:
    """Generate one image for every prompt of the grid, with seed 0, from what some text encoders read."""
    prompts, images = [phrase.text() for phrase in styled_object_phrases()], list[Image]()
    with progress_bar() as bar:
        for start in range(0, len(prompts), MAX_IMAGES):
            batch = prompts[start : start + MAX_IMAGES]
            texts = {name: batch if name in arguments else [""] * len(batch) for name in TEXT_ARGUMENTS}
            images += call_pipeline(pipeline, sampler, texts, [0] * len(batch))
            bar.update(len(batch) / len(prompts))
    return images


def main() -> None:
    """Evaluate, and write figures and sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=emoji.DIT_WEIGHTS)
    parser.add_argument("--judge", type=Path, default=emoji.JUDGE)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    judge, pipeline = open_judge(arguments.judge, arguments.model, DIT_PROFILE), load_pipeline(arguments.model)
    sampler = choose_sampler(Validation(), DIT_PROFILE, pipeline, DeviceSettings(device="cpu").resolve())
    images = {route: generate_grid(pipeline, texts, sampler) for route, texts in ROUTES.items()}
    figures = {route: measure_recognition(judge, found, styled_object_phrases()) for route, found in images.items()}
    write_figures(arguments.out, "emoji_dit.json", figures, "generated_dit.webp", images["both"])


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
