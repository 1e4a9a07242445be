"""Activations while a pipeline generates images: the conditional half of the batch, step by step."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor

from editor.features.activations.hooks import backbone_of, capture, remove_on_exit
from editor.features.activations.recorder import StoreKey, module_digest
from editor.generation.config import ImageSpec, Sampler
from editor.generation.module_device import autocast


@dataclass(frozen=True)
class GenerationSteps:
    """An activation source: module outputs in some denoising steps of generating each image."""

    pipeline: Any
    shots: Sequence[ImageSpec]
    sampler: Sampler
    modules: Sequence[str]
    steps: Sequence[int]
    """Counted from 0, the noisiest."""

    def __len__(self) -> int:
        return len(self.shots)

    @property
    def provenance(self) -> dict[str, Any]:
        """Everything that the activations depend on."""
        encoder = getattr(self.pipeline, "text_encoder", None)
        return {
            "protocol": "generation, conditional half",
            "model": module_digest(*filter(None, [backbone_of(self.pipeline), encoder])),
            "modules": list(self.modules),
            "steps": list(self.steps),
            "sampler": [self.sampler.steps, self.sampler.guidance, self.sampler.precision],
            "shots": [[shot.prompt, shot.seed] for shot in self.shots],
        }

    def maps(self, items: range) -> Mapping[StoreKey, Tensor]:
        """Generate these shots. Each has its own generator, so the result does not depend on the batch."""
        shots = [self.shots[i] for i in items]
        casting = autocast(backbone_of(self.pipeline), self.sampler.precision)
        with capture(self.pipeline, self.modules) as maps, self.collect_steps(maps, len(shots)) as collected, casting:
            self.pipeline(
                [shot.prompt for shot in shots],
                num_inference_steps=self.sampler.steps,
                guidance_scale=self.sampler.guidance,
                generator=[torch.Generator().manual_seed(shot.seed) for shot in shots],
                output_type="latent",
            )
        return collected

    @contextmanager
    def collect_steps(self, maps: Mapping[str, Tensor], rows: int) -> Iterator[dict[StoreKey, Tensor]]:
        """Collect the maps of the selected steps. Steps are counted by forward passes: not every pipeline has callbacks."""
        collected: dict[StoreKey, Tensor] = {}
        passes = count()

        def after(*_: Any) -> None:
            if (step := next(passes)) in self.steps:
                timestep = int(self.pipeline.scheduler.timesteps[step])
                # Guidance puts the unconditional rows first.
                collected.update({(name, timestep): states[-rows:].float() for name, states in maps.items()})

        with remove_on_exit(backbone_of(self.pipeline).register_forward_hook(after)):
            yield collected
