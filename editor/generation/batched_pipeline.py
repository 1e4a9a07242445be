"""A diffusers pipeline taken apart: the same images as the pipeline draws, in batches whose rows can be edited.

The unconditional half of classifier-free guidance is built here, from the clean empty prompt, and no edit reaches it.
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
    """A ``StableDiffusionPipeline`` or ``StableDiffusionXLPipeline`` and how to sample."""

    pipeline: Any
    sampler: Sampler

    @cached_property
    def encoders(self) -> tuple[CLIPTextRunner, ...]:
        """Its text encoders."""
        if not self.is_xl:
            return (CLIPTextRunner(self.pipeline.text_encoder, precision=self.sampler.precision),)
        pair = ("text_encoder", "text_encoder_2")
        precision = self.sampler.precision
        return tuple(CLIPTextRunner(getattr(self.pipeline, name), "penultimate", name, precision) for name in pair)

    @property
    def is_xl(self) -> bool:
        """Whether two text encoders and a pooled embedding condition the UNet."""
        return hasattr(self.pipeline, "text_encoder_2")

    @cached_property
    def denoiser(self) -> Denoiser:
        """The UNet, laid out for speed."""
        return Denoiser(self.pipeline.unet.to(memory_format=torch.channels_last), precision=self.sampler.precision)

    def conditioning_from_states(self, states: EncoderStates, ends: Tensor) -> Conditioning:
        """What the UNet is given for states ``(rows, positions, width)`` of each encoder and EOS positions ``(rows,)``."""
        if not self.is_xl:
            return {"encoder_hidden_states": states[0]}
        pooled = self.encoders[1].pooled_embeddings(states[1], ends)
        return {"encoder_hidden_states": torch.cat(states, dim=2), "added_cond_kwargs": self.added_cond_kwargs(pooled)}

    def added_cond_kwargs(self, pooled: Tensor) -> Conditioning:
        """SDXL's further conditions: the pooled embedding, and the image's size without cropping."""
        side = self.image_size
        sizes = torch.tensor([[side, side, 0, 0, side, side]], dtype=pooled.dtype).expand(len(pooled), -1)
        return {"text_embeds": pooled, "time_ids": sizes}

    @property
    def image_size(self) -> int:
        """Of an image, in pixels."""
        return int(self.pipeline.unet.config.sample_size * self.pipeline.vae_scale_factor)

    @cached_property
    @torch.no_grad()
    def unconditional(self) -> Conditioning:
        """One row for the empty prompt, as the pipeline has it."""
        if self.is_xl and self.pipeline.config.force_zeros_for_empty_prompt:
            widths = (self.pipeline.unet.config.cross_attention_dim, self.encoders[1].projection_dim)
            zeros = torch.zeros(1, self.pipeline.tokenizer.model_max_length, widths[0])
            return {
                "encoder_hidden_states": zeros,
                "added_cond_kwargs": self.added_cond_kwargs(torch.zeros(1, widths[1])),
            }
        return self.encode_prompts([""])

    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        """A row for each prompt, as the pipeline has it."""
        embedded = self.pipeline.encode_prompt(
            list(prompts), device=self.pipeline.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        if not self.is_xl:
            return {"encoder_hidden_states": embedded[0]}
        return {"encoder_hidden_states": embedded[0], "added_cond_kwargs": self.added_cond_kwargs(embedded[2])}

    def make_scheduler(self) -> Any:
        """A fresh one, with its timesteps set."""
        fresh = type(self.pipeline.scheduler).from_config(self.pipeline.scheduler.config)
        fresh.set_timesteps(self.sampler.steps)
        return fresh

    def prepare_latents(self, generators: Sequence[torch.Generator], scheduler: Any) -> Tensor:
        """Initial latents, as the pipeline draws them from a generator for each image."""
        config = self.pipeline.unet.config
        shape = (1, config.in_channels, config.sample_size, config.sample_size)
        latents: Tensor = torch.cat([torch.randn(shape, generator=generator) for generator in generators])
        return latents * float(scheduler.init_noise_sigma)

    @torch.no_grad()
    def denoise(
        self,
        condition: Conditioning,
        seeds: Sequence[int],
        edits: Intervention | None = None,
        tick: ProgressCallback = no_progress,
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Sample with guidance: final latents, and for every step its timestep and what the UNet was given."""
        edits, rows, scheduler = edits or NoIntervention(), len(seeds), self.make_scheduler()
        both = concat_conditioning(select_rows(self.unconditional, [0] * rows), condition)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        latents, inputs = self.prepare_latents(generators, scheduler), []
        extra = {"generator": generators} if is_stochastic(scheduler) else {}
        backbone, casting = self.denoiser.backbone, self.denoiser.autocast()
        with edits.apply(backbone, rows), cache_cross_attention_kv(backbone), casting:
            for edits.step, timestep in enumerate(scheduler.timesteps):
                given = scheduler.scale_model_input(latents, timestep)
                inputs.append((timestep, given))
                doubled = torch.cat([given, given]).contiguous(memory_format=torch.channels_last)
                without, with_prompt = self.denoiser.predict(doubled, timestep, both).chunk(2)
                guided = without + self.sampler.guidance * (with_prompt - without)
                latents = scheduler.step(guided, timestep, latents, **extra)[0]
                tick((edits.step + 1) / self.sampler.steps)
        return latents, inputs

    def generate(
        self,
        condition: Conditioning,
        seeds: Sequence[int],
        edits: Intervention | None = None,
        tick: ProgressCallback = no_progress,
    ) -> list[Image]:
        """Images of the conditions' rows, a seed each."""
        return self.decode_latents(self.denoise(condition, seeds, edits, tick)[0])

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> list[Image]:
        """Latents -> images."""
        with self.denoiser.autocast():
            decoded = self.pipeline.vae.decode(latents / self.pipeline.vae.config.scaling_factor, return_dict=False)[0]
        pixels = self.pipeline.image_processor.postprocess(decoded.float(), output_type="np")
        return list((pixels * 255).round().astype(np.uint8))

    @cached_property
    def bytes_per_image(self) -> int:
        """Bytes of activations that each further image needs, guidance included, measured on one step."""
        return self.step_peak_bytes(2) - self.step_peak_bytes(1)

    def step_peak_bytes(self, rows: int) -> int:
        """Bytes that a step of so many images holds at once, at most; with copies of weights in another precision."""
        denoiser, scheduler = self.denoiser, self.make_scheduler()
        latents = self.prepare_latents([torch.Generator() for _ in range(2 * rows)], scheduler)
        condition = select_rows(self.unconditional, [0] * 2 * rows)
        return measure_peak_memory(lambda: denoiser.predict(latents, scheduler.timesteps[0], condition))

    def batch_size(self, budget: MemoryBudget) -> int:
        """How many images to sample at once."""
        return budget.image_batch_size(self.bytes_per_image)


def is_stochastic(scheduler: Any) -> bool:
    """Whether a step draws noise."""
    return "generator" in inspect.signature(scheduler.step).parameters
