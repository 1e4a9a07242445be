"""Batched denoising with a Stable Diffusion pipeline: same images as the pipeline, with access to every row of a batch.

The unconditional half of classifier-free guidance is built here from the empty prompt; interventions never reach it.
"""

import inspect
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from editor.generation.clip_runner import CLIPTextRunner
from editor.generation.clip_states import clip_runners
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
from editor.generation.module_device import (
    execution_device,
    is_offloaded,
    is_sdxl,
    native_size,
    needs_float32_vae,
    to_module,
)
from editor.generation.pipeline_call import to_uint8
from editor.io.progress import ProgressCallback, no_progress

BATCHED_PIPELINES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")


@dataclass(frozen=True)
class BatchedPipeline:
    """A ``StableDiffusionPipeline`` or ``StableDiffusionXLPipeline`` with sampler settings."""

    pipeline: Any
    sampler: Sampler

    @cached_property
    def encoders(self) -> tuple[CLIPTextRunner, ...]:
        """The pipeline's text encoders."""
        return clip_runners(self.pipeline, self.sampler.precision)

    @property
    def is_xl(self) -> bool:
        """Whether the UNet is conditioned on two text encoders and a pooled embedding."""
        return is_sdxl(self.pipeline)

    @property
    def device(self) -> torch.device:
        """The device that the UNet's inputs must be on."""
        return execution_device(self.pipeline.unet)

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
            return {"encoder_hidden_states": self.to_unet(states[0])}
        pooled = self.encoders[1].pooled_embeddings(states[1], eos_positions)
        return {
            "encoder_hidden_states": self.to_unet(torch.cat(states, dim=2)),
            "added_cond_kwargs": self.added_cond_kwargs(self.to_unet(pooled)),
        }

    def to_unet(self, tensor: Tensor) -> Tensor:
        """Return a tensor on the UNet's device and in the dtype of its weights."""
        return to_module(self.pipeline.unet, tensor)

    def added_cond_kwargs(self, pooled: Tensor) -> Conditioning:
        """Return SDXL's additional conditioning: the pooled embedding, and the size of an uncropped image."""
        time_ids = torch.tensor([[*self.image_size, 0, 0, *self.image_size]]).to(pooled).expand(len(pooled), -1)
        return {"text_embeds": pooled, "time_ids": time_ids}

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of an image in pixels."""
        size = self.sampler.size or native_size(self.pipeline)
        assert size, "every UNet's configuration has a sample_size"
        return size

    @cached_property
    @torch.no_grad()
    def unconditional(self) -> Conditioning:
        """The conditioning of the empty prompt as the pipeline builds it, one row."""
        if self.is_xl and self.pipeline.config.force_zeros_for_empty_prompt:
            widths = (self.pipeline.unet.config.cross_attention_dim, self.encoders[1].projection_dim)
            zeros = self.to_unet(torch.zeros(1, self.pipeline.tokenizer.model_max_length, widths[0]))
            added = self.added_cond_kwargs(self.to_unet(torch.zeros(1, widths[1])))
            return {"encoder_hidden_states": zeros, "added_cond_kwargs": added}
        return self.encode_prompts([""])

    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        """Return the conditioning of prompts as the pipeline builds it, one row each."""
        embedded = self.pipeline.encode_prompt(
            list(prompts), device=self.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        states = self.to_unet(embedded[0])
        if not self.is_xl:
            return {"encoder_hidden_states": states}
        return {"encoder_hidden_states": states, "added_cond_kwargs": self.added_cond_kwargs(self.to_unet(embedded[2]))}

    def make_scheduler(self) -> Any:
        """Return a new scheduler with its timesteps set."""
        scheduler = type(self.pipeline.scheduler).from_config(self.pipeline.scheduler.config)
        scheduler.set_timesteps(self.sampler.steps, device=self.device)
        return scheduler

    def prepare_latents(self, generators: Sequence[torch.Generator], scheduler: Any) -> Tensor:
        """Return initial latents in float32, drawn on the CPU from one generator per image like the pipeline's."""
        scale, (height, width) = self.pipeline.vae_scale_factor, self.image_size
        shape = (1, self.pipeline.unet.config.in_channels, height // scale, width // scale)
        latents: Tensor = torch.cat([torch.randn(shape, generator=generator) for generator in generators])
        return latents.to(self.device) * float(scheduler.init_noise_sigma)

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
        vae = self.pipeline.vae
        scaled = to_module(vae, latents / vae.config.scaling_factor)
        with nullcontext() if needs_float32_vae(self.pipeline) else self.denoiser.autocast():
            decoded = vae.decode(scaled, return_dict=False)[0]
        return to_uint8(self.pipeline.image_processor.postprocess(decoded.float(), output_type="np"))

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


def is_batchable(pipeline: Any, sampler: Sampler) -> bool:
    """Return whether `BatchedPipeline` generates the images of the pipeline's own call, which it does faster.

    It does for plain Stable Diffusion and SDXL with classifier-free guidance: not with weights that wait in the CPU's memory,
    adapters, other conditioning, or latents that are normalized by channel.
    """
    if type(pipeline).__name__ not in BATCHED_PIPELINES or sampler.guidance <= 1 or is_offloaded(pipeline):
        return False
    unet, vae = pipeline.unet.config, pipeline.vae.config
    plain_unet = unet.time_cond_proj_dim is None and unet.encoder_hid_dim is None and unet.encoder_hid_dim_type is None
    return plain_unet and getattr(vae, "latents_mean", None) is None
