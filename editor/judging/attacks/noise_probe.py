"""Is the concept hidden or erased? Noise the base model's images of it, and denoise them with the edited model, unprompted.

The noise and image-to-image probe of Lu et al. (When Are Concepts Erased, NeurIPS 2025): a concept that a model restores from
noise under the empty prompt is still represented in its denoiser.
"""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from api_schemas.attacks import Access, AttackRecord
from editor.generation.config import Image, ImageSpec
from editor.generation.denoiser import Conditioning, select_rows
from editor.io.progress import ProgressCallback
from editor.judging.attacks.attack import AttackBudget
from editor.judging.attacks.context import AttackContext, ModelVariant
from editor.judging.attacks.records import Candidate, make_attempts, make_record

NOISE_STRENGTHS = (0.5, 0.6, 0.7, 0.8)
"""Share of the sampling steps that are repeated; with a smaller share the concept stays visible in any case."""


@torch.no_grad()
def restore_from_noise(variant: ModelVariant, latents: Tensor, prompt: str, strength: float, seed: int) -> list[Image]:
    """Add noise of a given strength to latents ``(n, ...)``, and denoise them under one prompt, without guidance."""
    batched = variant.sampling_pipeline
    scheduler = batched.make_scheduler()
    start = min(variant.sampler.steps - 1, round(variant.sampler.steps * (1 - strength)))
    times = scheduler.timesteps[start:]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(start)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed)).to(latents)
    latents = scheduler.add_noise(latents, noise, times[:1].expand(len(latents)))
    condition = select_rows(prompt_conditioning(variant, prompt), [0] * len(latents))
    for time in times:
        given = scheduler.scale_model_input(latents, time).contiguous(memory_format=torch.channels_last)
        latents = scheduler.step(batched.denoiser.predict(given, time, condition), time, latents)[0]
    return batched.decode_latents(latents)


def prompt_conditioning(variant: ModelVariant, prompt: str) -> Conditioning:
    """Return the conditioning of one prompt: by the encoder's states, or for two encoders as the pipeline builds it."""
    batched = variant.sampling_pipeline
    if batched.is_xl:
        return batched.encode_prompts([prompt])
    return batched.conditioning_from_states((variant.encode_prompts([prompt]),), torch.empty(0))


class NoiseProbe:
    """Restore images at several noise strengths, with both models."""

    name: ClassVar[str] = "noise_probe"
    access: ClassVar[Access] = "weights"
    unit: ClassVar[str] = "images restored"
    default_budget: ClassVar[int] = 16
    published_budget: ClassVar[int | None] = None
    source: ClassVar[str] = "Lu et al., NeurIPS 2025: image-to-image from noised images of the concept, empty prompt."
    tells: ClassVar[str] = (
        "Whether the denoiser still represents the concept. An edit of the text encoder that keeps the empty prompt does not "
        "change this: prompts no longer reach the concept, but the weights still contain it. Compare with the base model."
    )

    def run(self, context: AttackContext, budget: AttackBudget, progress: ProgressCallback) -> AttackRecord:
        """Run the attack. Raises AttackNotApplicable."""
        context.before.check_latents()
        count = max(1, min(budget.limit // len(NOISE_STRENGTHS), budget.images))
        specs = [ImageSpec(phrase.text(), budget.seed) for phrase in context.concept_prompts[:count]]
        latents = context.before.encode_images(context.base_images(specs))
        attempts, measures = [], dict[str, float]()
        for number, strength in enumerate(NOISE_STRENGTHS):
            key = f"restored {count} {strength} {budget.seed}"
            before = context.get_or_compute(
                key, partial(restore_from_noise, context.before, latents, "", strength, budget.seed)
            )
            after = restore_from_noise(context.after, latents, "", strength, budget.seed)
            candidates = [Candidate(f"{spec.prompt}, noised at {strength:g}", spec.seed) for spec in specs]
            own = make_attempts(context, candidates, after, before)
            measures |= detection_rates(strength, [(bool(one.found_before), one.found) for one in own])
            attempts += own
            progress((number + 1) / len(NOISE_STRENGTHS))
        return make_record(self, context, budget, attempts, spent=len(attempts), tried=len(attempts), measures=measures)


def detection_rates(strength: float, found: Sequence[tuple[bool, bool]]) -> dict[str, float]:
    """Return the detection rates of both models at one strength, by name."""
    before, after = zip(*found, strict=True)
    return {
        f"found at {strength:g}, base": sum(before) / len(before),
        f"found at {strength:g}, edited": sum(after) / len(after),
    }
