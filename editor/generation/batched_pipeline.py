"""Batched denoising with a Stable Diffusion pipeline: same images as the pipeline, with access to every row of a batch.

The unconditional half of classifier-free guidance is built here from the empty prompt; interventions never reach it.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from editor.generation.clip_runner import CLIPTextRunner
from editor.generation.config import EncoderStates, Image, Sampler
from editor.generation.denoiser import (
    Conditioning,
    Denoiser,
    Intervention,
    NoIntervention,
    cache_cross_attention_kv,
    concat_conditioning,
    select_rows,
)
from editor.generation.memory_budget import MemoryBudget, measure_peak_memory
from editor.io.progress import ProgressCallback, no_progress


@dataclass(frozen=True)
class BatchedPipeline:
    """A ``StableDiffusionPipeline`` or ``StableDiffusionXLPipeline`` with sampler settings."""

    pipeline: Any
    sampler: Sampler

    @cached_property
    def encoders(self) -> tuple[CLIPTextRunner, ...]:
        """The pipeline's text encoders."""
        if not self.is_xl:
            return (CLIPTextRunner(self.pipeline.text_encoder, precision=self.sampler.precision),)
        pair = ("text_encoder", "text_encoder_2")
        precision = self.sampler.precision
        return tuple(CLIPTextRunner(getattr(self.pipeline, name), "penultimate", name, precision) for name in pair)

    @property
    def is_xl(self) -> bool:
        """Whether the UNet is conditioned on two text encoders and a pooled embedding."""
        return hasattr(self.pipeline, "text_encoder_2")

    @cached_property
    def denoiser(self) -> Denoiser:
        """The UNet in channels-last memory layout."""
        return Denoiser(self.pipeline.unet.to(memory_format=torch.channels_last), precision=self.sampler.precision)

    def conditioning_from_states(self, states: EncoderStates, eos_positions: Tensor) -> Conditioning:
        """Return the UNet's conditioning for encoder states.

        Args:
            states: ``(rows, positions, width)`` for each encoder.
            eos_positions: ``(rows,)``; SDXL pools at these.
        """
        if not self.is_xl:
            return {"encoder_hidden_states": states[0]}
        pooled = self.encoders[1].pooled_embeddings(states[1], eos_positions)
        return {
            "encoder_hidden_states": torch.cat(states, dim=2),
            "added_cond_kwargs": self.added_cond_kwargs(pooled),
        }

    def added_cond_kwargs(self, pooled: Tensor) -> Conditioning:
        """Return SDXL's additional conditioning: the pooled embedding, and the size of an uncropped image."""
        size = self.image_size
        time_ids = torch.tensor([[size, size, 0, 0, size, size]], dtype=pooled.dtype).expand(len(pooled), -1)
        return {"text_embeds": pooled, "time_ids": time_ids}

    @property
    def image_size(self) -> int:
        """Height and width of an image in pixels."""
        return int(self.pipeline.unet.config.sample_size * self.pipeline.vae_scale_factor)

    @cached_property
    @torch.no_grad()
    def unconditional(self) -> Conditioning:
        """The conditioning of the empty prompt as the pipeline builds it, one row."""
        if self.is_xl and self.pipeline.config.force_zeros_for_empty_prompt:
            widths = (self.pipeline.unet.config.cross_attention_dim, self.encoders[1].projection_dim)
            zeros = torch.zeros(1, self.pipeline.tokenizer.model_max_length, widths[0])
            added = self.added_cond_kwargs(torch.zeros(1, widths[1]))
            return {"encoder_hidden_states": zeros, "added_cond_kwargs": added}
        return self.encode_prompts([""])

    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        """Return the conditioning of prompts as the pipeline builds it, one row each."""
        embedded = self.pipeline.encode_prompt(
            list(prompts), device=self.pipeline.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        if not self.is_xl:
            return {"encoder_hidden_states": embedded[0]}
        return {"encoder_hidden_states": embedded[0], "added_cond_kwargs": self.added_cond_kwargs(embedded[2])}

    def make_scheduler(self) -> Any:
        """Return a new scheduler with its timesteps set."""
        scheduler = type(self.pipeline.scheduler).from_config(self.pipeline.scheduler.config)
        scheduler.set_timesteps(self.sampler.steps)
        return scheduler

    def prepare_latents(self, generators: Sequence[torch.Generator], scheduler: Any) -> Tensor:
        """Return initial latents, drawn like the pipeline's from one generator per image."""
        config = self.pipeline.unet.config
        shape = (1, config.in_channels, config.sample_size, config.sample_size)
        latents: Tensor = torch.cat([torch.randn(shape, generator=generator) for generator in generators])
        return latents * float(scheduler.init_noise_sigma)

    @torch.no_grad()
    def denoise(
        self,
        conditioning: Conditioning,
        seeds: Sequence[int],
        intervention: Intervention | None = None,
        progress: ProgressCallback = no_progress,
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Sample with classifier-free guidance.

        Returns:
            The final latents, and for every step its timestep and the latents that entered the UNet.
        """
        intervention, rows, scheduler = intervention or NoIntervention(), len(seeds), self.make_scheduler()
        guided_conditioning = concat_conditioning(select_rows(self.unconditional, [0] * rows), conditioning)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        latents, inputs = self.prepare_latents(generators, scheduler), []
        step_kwargs = {"generator": generators} if is_stochastic(scheduler) else {}
        backbone, autocast = self.denoiser.backbone, self.denoiser.autocast()
        with intervention.apply(backbone, rows), cache_cross_attention_kv(backbone), autocast:
            for intervention.step, timestep in enumerate(scheduler.timesteps):
                model_input = scheduler.scale_model_input(latents, timestep)
                inputs.append((timestep, model_input))
                doubled = torch.cat([model_input, model_input]).contiguous(memory_format=torch.channels_last)
                unconditional, conditional = self.denoiser.predict(doubled, timestep, guided_conditioning).chunk(2)
                guided = unconditional + self.sampler.guidance * (conditional - unconditional)
                latents = scheduler.step(guided, timestep, latents, **step_kwargs)[0]
                progress((intervention.step + 1) / self.sampler.steps)
        return latents, inputs

    def generate(
        self,
        conditioning: Conditioning,
        seeds: Sequence[int],
        intervention: Intervention | None = None,
        progress: ProgressCallback = no_progress,
    ) -> list[Image]:
        """Generate one image for each row of the conditioning and its seed."""
        return self.decode_latents(self.denoise(conditioning, seeds, intervention, progress)[0])

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> list[Image]:
        """Decode latents to images."""
        with self.denoiser.autocast():
            decoded = self.pipeline.vae.decode(latents / self.pipeline.vae.config.scaling_factor, return_dict=False)[0]
        pixels = self.pipeline.image_processor.postprocess(decoded.float(), output_type="np")
        return list((pixels * 255).round().astype(np.uint8))

    @cached_property
    def bytes_per_image(self) -> int:
        """Bytes of activations that one more image in a batch needs, guidance included, measured on one step."""
        return self.step_peak_bytes(2) - self.step_peak_bytes(1)

    def step_peak_bytes(self, images: int) -> int:
        """Return the peak memory of one step for this many images, including weights cast to another precision."""
        denoiser, scheduler = self.denoiser, self.make_scheduler()
        latents = self.prepare_latents([torch.Generator() for _ in range(2 * images)], scheduler)
        conditioning = select_rows(self.unconditional, [0] * 2 * images)
        return measure_peak_memory(lambda: denoiser.predict(latents, scheduler.timesteps[0], conditioning))

    def batch_size(self, budget: MemoryBudget) -> int:
        """Return how many images fit the budget in one batch."""
        return budget.image_batch_size(self.bytes_per_image)


def is_stochastic(scheduler: Any) -> bool:
    """Return whether the scheduler draws noise in its steps."""
    return "generator" in inspect.signature(scheduler.step).parameters
