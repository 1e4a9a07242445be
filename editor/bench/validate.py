"""Benchmark of generating a validation's images against a plain loop over the diffusers pipeline.

The loop generates one image at a time in float32, with the embedded model, the same prompts, seeds and steps; both sides run
alternately in one process. Ours runs in the precision that the CPU multiplies natively, and in float32, where the images must
be equal. A validation generates images before and after the edit; the before-images of a known model come from the cache. The
benchmark also measures how many images early stopping saves: for an edit without effect, for a perfect edit, and for the
default edit, which changes a few images that it should not.
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
from editor.bench.outcome import BenchmarkResult, Bound, at_least, at_most, time_alternately
from editor.checkpoints import open_checkpoint
from editor.emoji.profile import PROFILE, styled_object_phrases
from editor.generation.config import Image, ImageSpec, Sampler, native_precision
from editor.generation.device import DeviceSettings
from editor.generation.pipelines import load_pipeline
from editor.generation.sampling import ImageCache, generate_images
from editor.io.progress import ProgressCallback, no_progress
from editor.jobs.sampler_settings import choose_sampler
from editor.judging.evaluation import plan_evaluations, run_evaluations
from editor.judging.gates import policy_from_request
from editor.judging.image_pairs import ImagePairGenerator
from editor.judging.judge import open_judge
from editor.judging.planned_images import image_specs
from editor.judging.prompt_groups import request_groups
from editor.judging.prompt_scores import GeneratedImages
from editor.methods.encoder_edit import edit_encoder
from editor.prompts import Concept, Destination, ResolvedRemoval, open_prompt_builder
from editor.prompts.templates import evenly_spaced

MIN_NATIVE_SPEEDUP, MIN_FLOAT32_SPEEDUP, MAX_DIFFERENCE = 6.0, 2.0, 1e-3
NO_EFFECT, PERFECT, DEFAULT = (
    "the edit has no effect",
    "the concept is gone and nothing else changed",
    "the default edit",
)
MIN_SAVED_SHARE = {NO_EFFECT: 0.5, PERFECT: 0.5, DEFAULT: 0.2}
"""Share of the planned images that early stopping must save. The default edit changes about one in a hundred retained images,
and each costs a hundred more prompts before a drop of at most 0.03 is shown."""
IMAGES, STEPS, GUIDANCE, REPEATS = 32, 20, 3.0, 3
FOX = ResolvedRemoval(Concept("fox"), Destination("dog face", "replacement"))


def run() -> BenchmarkResult:
    """Run the benchmark. Both sides run once before they are timed."""
    pipeline, specs, fast = load_pipeline(emoji.WEIGHTS), make_specs(), native_precision()
    in_native, in_float32 = (
        partial(generate_images, pipeline, Sampler(STEPS, GUIDANCE, precision)) for precision in (fast, "float32")
    )
    loop = partial(generate_in_loop, pipeline, specs)
    reference = np.stack(loop())
    differences = {
        name: mean_difference(generate(specs), reference)
        for name, generate in (("float32", in_float32), (fast, in_native))
    }
    native = time_alternately(partial(in_native, specs), loop, REPEATS, warm_up=0)
    float32 = time_alternately(partial(in_float32, specs), loop, repeats=1, warm_up=0)
    bounds = [
        at_least(f"times as fast in {fast}", native[2].median, MIN_NATIVE_SPEEDUP),
        at_least("times as fast in float32", float32[2].median, MIN_FLOAT32_SPEEDUP),
        at_least(
            "times as fast for before and after, with before-images cached", 2 * native[2].median, MIN_NATIVE_SPEEDUP
        ),
        *(at_most(f"{name}: mean difference of images, range 1", d, MAX_DIFFERENCE) for name, d in differences.items()),
        *early_stopping_bounds(pipeline),
    ]
    return BenchmarkResult(name="validate", ours=native[0], peer=native[1], ratio=native[2], bounds=bounds)


def make_specs() -> list[ImageSpec]:
    """Return prompts spread over objects and styles, each with one seed."""
    return [ImageSpec(phrase.text(), 0) for phrase in evenly_spaced(styled_object_phrases(), IMAGES)]


@torch.inference_mode()
def generate_in_loop(pipeline: Any, specs: Sequence[ImageSpec]) -> list[Image]:
    """Generate one image at a time with the diffusers pipeline."""
    images = [
        pipeline(
            spec.prompt,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=torch.Generator().manual_seed(spec.seed),
            output_type="np",
        ).images[0]
        for spec in specs
    ]
    return [(image * 255).round().astype(np.uint8) for image in images]


def mean_difference(images: Sequence[Image], reference: np.ndarray) -> float:
    """Return the mean absolute difference over all pixels and channels, range 1."""
    return float(np.abs(np.stack(images).astype(float) - reference).mean() / 255)


class PerfectEdit(ImagePairGenerator):
    """The images of a perfect edit: only those of the concept change."""

    def generate(self, specs: Sequence[ImageSpec], generated: GeneratedImages, progress: ProgressCallback) -> None:
        """See `ImagePairGenerator.generate`."""
        about = [spec for spec in specs if FOX.concept.name in spec.prompt]
        super().generate(about, generated, progress)
        others = self.cached_images(self.before, [spec for spec in specs if spec not in generated.after], progress)
        generated.before.update(others)
        generated.after.update(others)


def early_stopping_bounds(pipeline: Any) -> list[Bound]:
    """Measure the share of images that early stopping saves under the default request. The cases share their images."""
    (done,) = edit_encoder(open_checkpoint(emoji.WEIGHTS).encoders[0], open_prompt_builder(emoji.WEIGHTS), [FOX])
    sampler = choose_sampler(Validation(), PROFILE, pipeline, DeviceSettings(device="cpu").resolve())
    with tempfile.TemporaryDirectory() as folder:
        base, edited = ImageCache(Path(folder), "base"), ImageCache(Path(folder), "edited")
        cases = {
            NO_EFFECT: ImagePairGenerator(pipeline, [], sampler, base, base),
            PERFECT: PerfectEdit(pipeline, [done.update], sampler, base, edited),
            DEFAULT: ImagePairGenerator(pipeline, [done.update], sampler, base, edited),
        }
        return [
            at_least(f"share of images saved, {name}", saved_share(generator), MIN_SAVED_SHARE[name])
            for name, generator in cases.items()
        ]


def saved_share(generator: ImagePairGenerator) -> float:
    """Return the share of the planned images that early stopping saves."""
    request, prompt_builder = Validation(), open_prompt_builder(emoji.WEIGHTS)
    judge = open_judge(emoji.JUDGE, emoji.WEIGHTS, prompt_builder.profile)
    policy = policy_from_request(request)
    groups = request_groups(prompt_builder, judge, [FOX], request.retain_prompts, max_removal_prompts=request.prompts)
    evaluations = plan_evaluations(groups, policy.gates, seed=0)
    images = run_evaluations(evaluations, judge, generator, [0], 1 - policy.confidence, True, no_progress)
    return 1 - len(images.after) / len(image_specs(groups, [0]))
