"""The sampler of a validation: what the request states, else the model's profile, else its family's defaults."""

from dataclasses import replace
from typing import Any

from api_schemas.edits import Validation
from editor.generation.config import Sampler, make_sampler
from editor.generation.device import ComputeDevice
from editor.generation.pipelines.defaults import family_defaults
from editor.prompts.profile import Profile


def choose_sampler(options: Validation, profile: Profile, pipeline: Any, device: ComputeDevice) -> Sampler:
    """Return the sampler settings of a validation."""
    own, family = profile.sampler, family_defaults(pipeline)
    stated = (options.height, options.width) if options.height else None
    height, width = stated or own.size or family.size or (None, None)
    steps = options.steps or own.steps or family.steps
    guidance = next(value for value in (options.guidance, own.guidance, family.guidance) if value is not None)
    return replace(make_sampler(device, steps, guidance), height=height, width=width)
