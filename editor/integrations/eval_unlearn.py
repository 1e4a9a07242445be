"""Run eval-unlearn's metrics (REAL Lab, 1.1) on our edited models, as a technique of its harness.

The harness finds the technique through the entry point ``expunge`` and calls its ``generate``. Heavy modules are imported only
when a technique is created, so that listing techniques is fast.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from api_schemas.errors import UsageError

if TYPE_CHECKING:
    from api_schemas.edits import MethodName
    from editor.checkpoints.tensor_update import TensorUpdate


@dataclass(frozen=True)
class Config:
    """The technique's part of a benchmark configuration; unknown keys are ignored, as elsewhere in the harness."""

    model_dir: str = ""
    """The base model's folder; empty for the embedded one."""
    erase_concept: str = ""
    """Concept to remove, with its kind and replacement."""
    concept_type: Literal["object", "style"] = "object"
    replacement: str = ""
    method: "MethodName" = "default"
    delta: str = ""
    """Published edit of the base model, in place of a concept."""
    device: str = "cpu"
    num_inference_steps: int = 50
    guidance_scale: float = 7.5

    def __post_init__(self) -> None:
        if bool(self.erase_concept) == bool(self.delta):
            raise UsageError(
                "The technique needs either a concept or a published edit.",
                field="erase_concept",
                remedy='Set "erase_concept", or set "delta" to the path of a published delta.safetensors.',
            )


class ExpungeTechnique:
    """A pipeline with an edited text encoder."""

    def __init__(self, **settings: Any) -> None:
        known = {field.name for field in fields(Config)}
        self.config = Config(**{name: value for name, value in settings.items() if name in known})
        self.pipeline = load_edited_pipeline(self.config).to(self.config.device)

    def generate(self, prompts: Sequence[str], seed: int | None = None, **overrides: Any) -> list[Any]:
        """Generate a PIL image for each prompt, image ``i`` with ``seed + i`` like the harness's own techniques."""
        import torch

        settings = {
            "num_inference_steps": self.config.num_inference_steps,
            "guidance_scale": self.config.guidance_scale,
        } | overrides
        images = []
        for number, prompt in enumerate(prompts):
            device = torch.Generator(self.config.device)
            generator = None if seed is None else device.manual_seed(seed + number)
            images.append(self.pipeline(prompt, generator=generator, **settings).images[0])
        return images


def load_edited_pipeline(config: Config) -> Any:
    """Load the base model and apply the edit."""
    from editor import emoji
    from editor.generation.edited_weights import apply_updates
    from editor.generation.pipelines import load_pipeline

    folder = Path(config.model_dir) if config.model_dir else emoji.WEIGHTS
    pipeline = load_pipeline(folder)
    if config.delta:
        apply_published_delta(pipeline, folder, config)
    else:
        apply_updates(pipeline, solve_updates(folder, config))
    return pipeline


def solve_updates(folder: Path, config: Config) -> "list[TensorUpdate]":
    """Solve for the removal of the concept."""
    from api_schemas.edits import EditRequest
    from editor.checkpoints import open_checkpoint
    from editor.jobs.forecast import solve_encoders
    from editor.methods.config import method_from_options
    from editor.prompts import open_prompt_builders
    from editor.prompts.resolve_request import resolve_request

    removal = {"concept": config.erase_concept, "kind": config.concept_type, "replacement": config.replacement or None}
    request = EditRequest.model_validate({"removals": [removal], "options": {"method": config.method}})
    checkpoint = open_checkpoint(folder)
    prompt_builders = open_prompt_builders(checkpoint)
    method = method_from_options(request.options, (0,), "the default")
    return [
        edit.update
        for edit in solve_encoders(
            checkpoint, prompt_builders, resolve_request(request, prompt_builders[0]), lambda _: method
        )
    ]


def apply_published_delta(pipeline: Any, folder: Path, config: Config) -> None:
    """Apply a published edit, after a check that it belongs to the base model."""
    import tempfile

    from editor.publishing.apply import apply_delta

    with tempfile.TemporaryDirectory() as out:
        for path in apply_delta(folder, Path(config.delta), Path(out)):
            name = path.parent.name
            encoder = type(getattr(pipeline, name)).from_pretrained(path.parent, use_safetensors=True)
            setattr(pipeline, name, encoder.eval())
