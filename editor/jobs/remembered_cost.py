"""Remember what an image costs on this machine: the fastest of a few measurements, because a busy machine is slower."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ValidationError

from api_schemas.edits import Validation
from editor.generation.device import ComputeDevice
from editor.io.atomic import write_bytes
from editor.io.digests import sha256_hex
from editor.jobs.cost_estimate import GenerationCost
from editor.prompts import Profile

MEASUREMENTS = 3
"""Measurements of which the fastest counts."""
INTERVAL_SECONDS = 600.0
"""Time between two measurements: what slowed the first one down may have ended."""

_used: dict[str, GenerationCost] = {}
"""The costs that this process has used, by place."""


class Measurements(BaseModel):
    """What a place's images have cost so far."""

    costs: list[GenerationCost] = []
    last: float = 0.0
    """Time of the last measurement in seconds since the epoch."""

    @property
    def is_due(self) -> bool:
        """Whether another measurement may be better."""
        return len(self.costs) < MEASUREMENTS and time.time() - self.last > INTERVAL_SECONDS


def remembered_cost(
    folder: Path, place: Sequence[Any], measure: Callable[[], GenerationCost], *, again: bool = False
) -> GenerationCost:
    """Return the smallest cost of an image that was measured at a place. The first few processes measure it.

    Args:
        folder: stores the measurements for the next process.
        place: what the cost depends on, as from `generation_place`.
        measure: loads the pipeline and measures it.
        again: measure it now in any case.
    """
    key = sha256_hex(json.dumps([*place, torch.get_num_threads()], sort_keys=True))
    if key not in _used or again:
        path = folder / f"{key}.json"
        found = read_measurements(path)
        if again or found.is_due:
            found = Measurements(costs=[*found.costs, measure()][-MEASUREMENTS:], last=time.time())
            write_bytes(path, found.model_dump_json().encode())
        _used[key] = smallest_cost(found.costs)
    return _used[key]


def generation_place(images: str, device: ComputeDevice, options: Validation, profile: Profile) -> list[Any]:
    """Return what the cost of an image depends on, besides the steps.

    Args:
        images: digest of everything in the model that its images depend on.
    """
    settings = [options.height, options.width, options.guidance, profile.sampler.model_dump()]
    return [images, str(device.torch_device), device.precision, *settings]


def read_measurements(path: Path) -> Measurements:
    """Return the measurements of a file; none if there is no file, or one of an earlier version."""
    try:
        return Measurements.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return Measurements()


def smallest_cost(costs: Sequence[GenerationCost]) -> GenerationCost:
    """Return the fastest measurement, with the smallest memory: a process's peak includes what it did before."""
    fastest = min(costs, key=lambda cost: cost.seconds(1, None))
    return fastest.model_copy(update={"memory": min(cost.memory for cost in costs)})
