"""Activations while a pipeline draws: the conditional half, step by step."""

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


@dataclass(frozen=True)
class GenerationSteps:
    """A source of activations: what modules put out in some steps of drawing each shot."""

    pipeline: Any
    shots: Sequence[ImageSpec]
    sampler: Sampler
    modules: Sequence[str]
    steps: Sequence[int]
    """From 0, the noisiest, on."""

    def __len__(self) -> int:
        return len(self.shots)

    @property
    def provenance(self) -> dict[str, Any]:
        """What the activations depend on."""
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
        """Of some shots. Each has a generator of its own, so the batch doesn't matter."""
        shots = [self.shots[i] for i in items]
        casting = torch.autocast(
            self.pipeline.device.type, dtype=torch.bfloat16, enabled=self.sampler.precision == "bfloat16"
        )
        with capture(self.pipeline, self.modules) as maps, self.collect_steps(maps, len(shots)) as found, casting:
            self.pipeline(
                [shot.prompt for shot in shots],
                num_inference_steps=self.sampler.steps,
                guidance_scale=self.sampler.guidance,
                generator=[torch.Generator().manual_seed(shot.seed) for shot in shots],
                output_type="latent",
            )
        return found

    @contextmanager
    def collect_steps(self, maps: Mapping[str, Tensor], rows: int) -> Iterator[dict[StoreKey, Tensor]]:
        """Within, the wanted steps' maps are kept. A step is a forward pass: not every pipeline has callbacks."""
        found: dict[StoreKey, Tensor] = {}
        passes = count()

        def after(*_: Any) -> None:
            if (step := next(passes)) in self.steps:
                timestep = int(self.pipeline.scheduler.timesteps[step])
                # Guidance puts the unconditional rows first.
                found.update({(name, timestep): own[-rows:].float() for name, own in maps.items()})

        with remove_on_exit(backbone_of(self.pipeline).register_forward_hook(after)):
            yield found
