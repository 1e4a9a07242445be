"""Our edits as a technique of eval-unlearn's harness (REAL Lab, 1.1): its metrics, run on our edited models.

Found by that package through the entry point ``expunge``; it calls ``generate`` and knows nothing else of us. Nothing heavy is
imported before a technique is made, so that listing techniques stays quick.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from api_schemas.errors import UsageError

if TYPE_CHECKING:
    from editor.methods.tensor_update import TensorUpdate


@dataclass(frozen=True)
class Config:
    """The technique's part of a benchmark's configuration; keys that are none of these are passed over, as the harness does."""

    model_dir: str = ""
    """The base model's folder; empty for the embedded one."""
    erase_concept: str = ""
    """Removed on the spot; its kind and what takes its place:"""
    concept_type: Literal["object", "style"] = "object"
    replacement: str = ""
    preset: Literal["default", "paper"] = "default"
    delta: str = ""
    """Or: a published edit of the base model."""
    device: str = "cpu"
    num_inference_steps: int = 50
    guidance_scale: float = 7.5

    def __post_init__(self) -> None:
        if bool(self.erase_concept) == bool(self.delta):
            raise UsageError(
                "The technique needs either a concept to erase or an edit.",
                field="erase_concept",
                remedy='Give "erase_concept", or "delta" with the path of a published delta.safetensors.',
            )


class ExpungeTechnique:
    """A pipeline with its text encoder edited."""

    def __init__(self, **given: Any) -> None:
        known = {field.name for field in fields(Config)}
        self.config = Config(**{name: value for name, value in given.items() if name in known})
        self.pipeline = edited_pipeline(self.config).to(self.config.device)

    def generate(self, prompts: Sequence[str], seed: int | None = None, **given: Any) -> list[Any]:
        """A PIL image for each prompt; image ``i`` at ``seed + i``, as the harness's own techniques have it."""
        import torch

        settings = {
            "num_inference_steps": self.config.num_inference_steps,
            "guidance_scale": self.config.guidance_scale,
        } | given
        images = []
        for number, prompt in enumerate(prompts):
            device = torch.Generator(self.config.device)
            generator = None if seed is None else device.manual_seed(seed + number)
            images.append(self.pipeline(prompt, generator=generator, **settings).images[0])
        return images


def edited_pipeline(config: Config) -> Any:
    """The base model with the edit in it."""
    from editor import emoji
    from editor.generation.sampling import apply_updates, load_pipeline

    folder = Path(config.model_dir) if config.model_dir else emoji.WEIGHTS
    pipeline = load_pipeline(folder)
    if config.delta:
        put_delta(pipeline, folder, config)
    else:
        apply_updates(pipeline, updates_for(folder, config))
    return pipeline


def updates_for(folder: Path, config: Config) -> "list[TensorUpdate]":
    """Solve for the concept."""
    from api_schemas.edits import EditRequest
    from editor.checkpoints import open_checkpoint
    from editor.jobs.forecast import edit_all
    from editor.methods.config import method_from_options
    from editor.prompts import open_prompt_builders
    from editor.prompts.resolve_request import resolve_request

    removal = {"concept": config.erase_concept, "kind": config.concept_type, "replacement": config.replacement or None}
    request = EditRequest.model_validate({"removals": [removal], "options": {"preset": config.preset}})
    checkpoint = open_checkpoint(folder)
    books = open_prompt_builders(checkpoint)
    method = method_from_options(request.options, (0,), "the default")
    return [edit.update for edit in edit_all(checkpoint, books, resolve_request(request, books[0]), method)]


def put_delta(pipeline: Any, folder: Path, config: Config) -> None:
    """Check that the published edit belongs to the base model, and put it in."""
    import tempfile

    from editor.publishing.apply import apply_delta

    with tempfile.TemporaryDirectory() as out:
        for path in apply_delta(folder, Path(config.delta), Path(out)):
            name = path.parent.name
            encoder = type(getattr(pipeline, name)).from_pretrained(path.parent, use_safetensors=True)
            setattr(pipeline, name, encoder.eval())
