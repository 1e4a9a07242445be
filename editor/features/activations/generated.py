"""Activations while a pipeline draws: the conditional half, step by step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from editor.features.activations.capture import backbone_of, capture
from editor.features.activations.record import Key, module_digest
from editor.judging.sampling import Sampler, Shot


@dataclass(frozen=True)
class Generation:
    """A source of activations: what modules put out in some steps of drawing each shot."""

    pipeline: Any
    shots: Sequence[Shot]
    sampler: Sampler
    modules: Sequence[str]
    steps: Sequence[int]
    """From 0, the noisiest, on."""

    def __len__(self) -> int:
        return len(self.shots)

    @property
    def about(self) -> dict[str, Any]:
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

    def maps(self, items: range) -> Mapping[Key, Tensor]:
        """Of some shots. Each has a generator of its own, so the batch doesn't matter."""
        shots = [self.shots[i] for i in items]
        found: dict[Key, Tensor] = {}
        with (
            capture(self.pipeline, self.modules) as maps,
            torch.autocast(
                self.pipeline.device.type, dtype=torch.bfloat16, enabled=self.sampler.precision == "bfloat16"
            ),
        ):

            def after_step(_: Any, step: int, timestep: Tensor, values: dict[str, Any]) -> dict[str, Any]:
                if step in self.steps:
                    # Guidance puts the unconditional rows first.
                    found.update({(name, int(timestep)): own[-len(shots) :].float() for name, own in maps.items()})
                return values

            self.pipeline(
                [shot.prompt for shot in shots],
                num_inference_steps=self.sampler.steps,
                guidance_scale=self.sampler.guidance,
                generator=[torch.Generator().manual_seed(shot.seed) for shot in shots],
                output_type="latent",
                callback_on_step_end=after_step,
            )
        return found
