"""Drawing for a validation, against a plain loop over diffusers' own pipeline: one image at a time, in float32.

The embedded model, the same prompts, seeds and steps on both sides, alternately in one process. Ours in the precision that
the processor multiplies natively, and in float32, where images must be equal. A validation draws before and after; where the
model was judged before, the before half comes from the cache. And how many images early stopping saves: where an edit did
nothing, where it did just what it should, and with the default edit, under which a few images change for no reason.
"""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from api_schemas.edits import Validation
from editor import emoji
from editor.bench.outcome import Bound, Outcome, at_least, at_most, side_by_side
from editor.checkpoints import open_checkpoint
from editor.emoji.profile import styled_object_phrases
from editor.generation.config import Image, ImageSpec, Sampler, native_precision
from editor.generation.sampling import ImageCache, generate_images, load_pipeline
from editor.io.progress import ProgressCallback
from editor.judging.evaluation import (
    GeneratedImages,
    ImagePairGenerator,
    image_specs,
    plan_evaluations,
    run_evaluations,
)
from editor.judging.gates import policy_from_request
from editor.judging.judge import open_judge
from editor.judging.prompt_groups import request_groups
from editor.methods.default import edit_encoder
from editor.prompts import Concept, Destination, ResolvedRemoval, open_prompt_builder
from editor.prompts.templates import evenly_spaced

FASTER, FASTER_IN_FULL, EQUAL, SAVED = 6.0, 2.0, 1e-3, 0.5
IMAGES, STEPS, GUIDANCE, REPEATS = 32, 20, 3.0, 3
FOX = ResolvedRemoval(Concept("fox"), Destination("dog face", "replacement"))


def run() -> Outcome:
    """All figures. Both sides have run before they are timed."""
    pipeline, shots = load_pipeline(emoji.WEIGHTS), shots_to_draw()
    own, full = (
        partial(generate_images, pipeline, Sampler(STEPS, GUIDANCE, p)) for p in (native_precision(), "float32")
    )
    peer = partial(plain_loop, pipeline, shots)
    truth = np.stack(peer())
    apart = {name: difference(side(shots), truth) for name, side in (("float32", full), (native_precision(), own))}
    native = side_by_side(partial(own, shots), peer, REPEATS, warm_up=0)
    in_full = side_by_side(partial(full, shots), peer, repeats=1, warm_up=0)
    bounds = [
        at_least(f"times as fast in {native_precision()}", native[2].median, FASTER),
        at_least("times as fast in float32", in_full[2].median, FASTER_IN_FULL),
        at_least("times as fast with before-images at hand, before and after", 2 * native[2].median, FASTER),
        *(at_most(f"{name}: mean difference of images, range 1", value, EQUAL) for name, value in apart.items()),
        *savings(pipeline),
    ]
    return Outcome(name="validate", ours=native[0], peer=native[1], ratio=native[2], bounds=bounds)


def shots_to_draw() -> list[ImageSpec]:
    """Prompts spread over objects and styles, each at one seed."""
    return [ImageSpec(phrase.text(), 0) for phrase in evenly_spaced(styled_object_phrases(), IMAGES)]


@torch.inference_mode()
def plain_loop(pipeline: Any, shots: Sequence[ImageSpec]) -> list[Image]:
    """What one would write first."""
    images = [
        pipeline(
            shot.prompt,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=torch.Generator().manual_seed(shot.seed),
            output_type="np",
        ).images[0]
        for shot in shots
    ]
    return [(image * 255).round().astype(np.uint8) for image in images]


def difference(images: Sequence[Image], truth: np.ndarray) -> float:
    """Mean absolute difference over all pixels and channels, range 1."""
    return float(np.abs(np.stack(images).astype(float) - truth).mean() / 255)


class Sparing(ImagePairGenerator):
    """What a perfect edit draws: nothing changes but images of the concept."""

    def generate(self, shots: Sequence[ImageSpec], drawn: GeneratedImages, tick: ProgressCallback) -> None:
        """See `ImagePairGenerator.generate`."""
        about = [shot for shot in shots if FOX.concept.name in shot.prompt]
        super().generate(about, drawn, tick)
        others = self.cached_images(self.before, [shot for shot in shots if shot not in drawn.after], tick)
        drawn.before.update(others)
        drawn.after.update(others)


def savings(pipeline: Any) -> list[Bound]:
    """The share of images that some cases don't need, under the default request. What one case drew serves the next."""
    (done,) = edit_encoder(open_checkpoint(emoji.WEIGHTS).encoders[0], open_prompt_builder(emoji.WEIGHTS), [FOX])
    sampler = Sampler(Validation().steps, Validation().guidance, native_precision())
    with tempfile.TemporaryDirectory() as folder:
        base, edited = ImageCache(Path(folder), "base"), ImageCache(Path(folder), "edited")
        cases = {
            "the edit did nothing": ImagePairGenerator(pipeline, [], sampler, base, base),
            "the concept is gone and nothing else changed": Sparing(pipeline, [done.update], sampler, base, edited),
            "the default edit": ImagePairGenerator(pipeline, [done.update], sampler, base, edited),
        }
        return [at_least(f"share of images saved, {name}", saved(easel), SAVED) for name, easel in cases.items()]


def saved(easel: ImagePairGenerator) -> float:
    """Of what would be drawn without early stopping."""
    asked, book = Validation(), open_prompt_builder(emoji.WEIGHTS)
    judge = open_judge(emoji.JUDGE, emoji.WEIGHTS, book.profile)
    policy, groups = (
        policy_from_request(asked),
        request_groups(book, judge, [FOX], asked.retain_prompts, prompts=asked.prompts),
    )
    trials = plan_evaluations(groups, policy.gates, seed=0)
    drawn = run_evaluations(trials, judge, easel, [0], 1 - policy.confidence, True, lambda done: None)
    return 1 - len(drawn.after) / len(image_specs(groups, [0]))
