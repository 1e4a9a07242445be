"""The options that `expunge edit` and `expunge erase` share, and the request that they mean."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from api_schemas.edits import EditRequest, Validation
from api_schemas.errors import UsageError
from api_schemas.removals import SYNTAX, build_request

DEFAULTS = Validation()
"""What a command line means that does not say otherwise: the same as a request that does not."""

ModelId = Annotated[str, typer.Option("--model", help="The base model.")]
Remove = Annotated[
    list[str],
    typer.Option("--remove", metavar="CONCEPT[=REPLACEMENT]", help=f"{SYNTAX} Repeatable."),
]
Preserve = Annotated[list[str], typer.Option("--preserve", metavar="CONCEPT", help="Protect this concept. Repeatable.")]
Preset = Annotated[Literal["default", "paper"], typer.Option(help="paper: the published procedure, for comparison.")]
Preservation = Annotated[str, typer.Option(metavar="auto|WEIGHT", help="More keeps more and removes less.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same files.")]
Seeds = Annotated[int, typer.Option(min=1, max=16, help="Validation images per prompt.")]
Steps = Annotated[int, typer.Option(min=1, max=150, help="Sampler steps per validation image.")]
Guidance = Annotated[float, typer.Option(min=1, max=20, help="Guidance of the validation images.")]
RetainPrompts = Annotated[int, typer.Option(min=0, max=2000, help="At most this many unrelated prompts.")]
NoValidate = Annotated[bool, typer.Option("--no-validate", help="Only edit: no images, no verdict.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the files go.")]
DeltaOnly = Annotated[
    bool, typer.Option("--delta-only", help="No full weights: make them when needed, with `expunge apply`.")
]
JsonOutput = Annotated[bool, typer.Option("--json", help="Print one JSON object, and no progress.")]


def request_from_options(
    *,
    model: str,
    remove: Sequence[str],
    preserve: Sequence[str],
    preset: Literal["default", "paper"],
    preservation: str,
    seed: int,
    seeds: int,
    steps: int,
    guidance: float,
    retain_prompts: int,
    no_validate: bool,
) -> EditRequest:
    """The request. Raises `UsageError`, naming the option."""
    return build_request(
        remove,
        preserve,
        model=model,
        seed=seed,
        options={"preset": preset, "preservation": _weight(preservation)},
        validation={
            "enabled": not no_validate,
            "seeds": seeds,
            "steps": steps,
            "guidance": guidance,
            "retain_prompts": retain_prompts,
        },
    )


def _weight(text: str) -> float | str:
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f'--preservation "{text}" is no number.', remedy="Leave it out, or say auto.") from error
