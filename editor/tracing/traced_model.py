"""The model of a trace: its text encoders, and pipeline and judge where the trace needs them, each loaded on first use."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from api_schemas.errors import UsageError
from editor.checkpoints import Checkpoint, TextEncoder, open_checkpoint, weight_files
from editor.checkpoints.load_transformers import load_module
from editor.checkpoints.tokenizers import open_prompt_tokenizer
from editor.generation.batched_pipeline import BatchedPipeline
from editor.generation.clip_runner import CLIPTextRunner
from editor.generation.config import Sampler
from editor.generation.device import ComputeDevice, DeviceSettings
from editor.generation.warm_pipelines import WarmPipelines
from editor.io.digests import file_digest
from editor.judging.judge import Judge, open_judge
from editor.prompts import Profile, PromptBuilder, load_profile

PENULTIMATE_FAMILIES = ("sdxl", "sd3")
"""Families whose denoiser is conditioned on the states before the encoders' last layer."""
IMAGE_FAMILIES = ("stable-diffusion-1", "stable-diffusion-2", "sdxl")
"""Families whose image backbone can be traced."""

_pipelines = WarmPipelines()
"""Keeps the last pipeline for the next trace of the same files."""


@dataclass(frozen=True)
class TracedModel:
    """A base model and a judge."""

    path: Path
    judge_folder: Path
    sampler: Sampler
    encoder: str = "all"
    """``text_encoder``, ``text_encoder_2``, or all of them together."""
    needs_images: bool = False
    """Whether the trace runs the image backbone."""
    components: Path | None = None
    """A folder with what the model lacks to generate images."""
    settings: DeviceSettings = field(default_factory=DeviceSettings)
    profile: Profile | None = None
    """Used instead of the model's own."""

    @cached_property
    def used_profile(self) -> Profile:
        """The profile: objects and styles to trace, and the classes that the judge knows."""
        return self.profile or load_profile(self.path)

    @cached_property
    def device(self) -> ComputeDevice:
        """The device of encoders, pipeline and judge. Raises DeviceError."""
        return self.settings.resolve()

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The base model, opened lazily."""
        return open_checkpoint(self.path)

    @cached_property
    def text_encoders(self) -> tuple[TextEncoder, ...]:
        """The traced text encoders of the checkpoint."""
        encoders = self.checkpoint.encoders
        if not encoders:
            raise UsageError(
                f"{self.checkpoint.path} reads prompts without CLIP, and only CLIP text encoders are traced.",
                field="model",
                remedy="Trace a model with a CLIP text encoder. To remove a concept from this one needs no trace.",
            )
        selected = tuple(e for e in encoders if self.encoder in ("all", e.component))
        if not selected:
            raise UsageError(
                f"The model has no text encoder {self.encoder!r}.",
                field="encoder",
                remedy=f"Choose one of all, {', '.join(encoder.component for encoder in encoders)}.",
            )
        return selected

    @cached_property
    def prompt_builders(self) -> tuple[PromptBuilder, ...]:
        """A prompt builder for the tokenizer of each traced encoder."""
        return tuple(PromptBuilder(open_prompt_tokenizer(encoder), self.used_profile) for encoder in self.text_encoders)

    @cached_property
    def encoders(self) -> tuple[CLIPTextRunner, ...]:
        """The traced encoders; the pipeline's own if the trace runs the image backbone."""
        if self.needs_images:
            return self.pipeline.encoders
        output: Literal["final", "penultimate"] = (
            "penultimate" if self.checkpoint.family in PENULTIMATE_FAMILIES else "final"
        )
        return tuple(
            CLIPTextRunner(
                load_module(encoder).to(self.device.torch_device), output, encoder.component, self.sampler.precision
            )
            for encoder in self.text_encoders
        )

    @cached_property
    def pipeline(self) -> BatchedPipeline:
        """The whole pipeline, for traces that run the image backbone."""
        family = self.checkpoint.family
        if family not in IMAGE_FAMILIES:
            raise UsageError(
                f"The image backbone of the model at {self.path} (family {family}) can't be traced.",
                field="read_out",
                remedy="Trace text sites with the read-out text, or use a model of Stable Diffusion 1 or 2 or SDXL.",
            )
        if self.encoder != "all":
            raise UsageError(
                "A trace that generates images uses all text encoders.", field="encoder", remedy="Omit --encoder."
            )
        return BatchedPipeline(_pipelines.load(self.path, self.components, self.device), self.sampler)

    @cached_property
    def judge(self) -> Judge:
        """The judge of images."""
        return open_judge(self.judge_folder, self.path, self.used_profile, self.device.torch_device)

    @cached_property
    def weights_digest(self) -> str:
        """One sha256 over all weights files."""
        files = weight_files(self.path) if self.path.is_dir() else {"": self.path}
        digests = sorted((name, file_digest(path)) for name, path in files.items())
        return hashlib.sha256(repr(digests).encode()).hexdigest()
