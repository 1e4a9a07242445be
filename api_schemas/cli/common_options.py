"""Options that many commands share. They need typer alone, so that a command with no others starts fast."""

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

ModelId = Annotated[str, typer.Option("--model", help="The id of the base model.")]


Seed = Annotated[int, typer.Option(min=0, help="Random seed; the same seed gives the same files.")]


Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Output folder.")]


DeltaOnly = Annotated[
    bool, typer.Option("--delta-only", help="Write no full weights; `expunge apply` makes them from the delta.")
]


ModelDir = Annotated[
    Path | None,
    typer.Option(metavar="PATH", help="A diffusers folder or single-file checkpoint; overrides --model."),
]


Components = Annotated[
    Path | None,
    typer.Option(
        "--components",
        metavar="DIR",
        file_okay=False,
        help="A folder with what the model lacks to generate images, such as autoencoder and T5.",
    ),
]


ServiceUrl = Annotated[str | None, typer.Option("--url", envvar="EXPUNGE_URL", help="URL of the service.")]


ApiKeyFile = Annotated[
    Path | None, typer.Option("--api-key-file", envvar="EXPUNGE_API_KEY_FILE", help="File with the API key.")
]


ServiceFolder = Annotated[
    Path,
    typer.Option(
        "--data-dir", envvar="EXPUNGE_DATA_DIR", help="Data folder of a local `expunge up`, to find its URL and key."
    ),
]


LedgerDir = Annotated[Path, typer.Argument(metavar="DIR", file_okay=False, help="The folder of the ledger.")]


JoinLedger = Annotated[
    Path | None,
    typer.Option(
        "--ledger",
        metavar="DIR",
        file_okay=False,
        help="Solve jointly with the removals recorded in this ledger, and record this one.",
    ),
]


SignWith = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", envvar="EXPUNGE_SIGNING_DIR", file_okay=False, help="Sign with the newest key in this folder."
    ),
]


DEFAULT_DATA_DIR = Path("~/.expunge")


DataDir = Annotated[Path, typer.Option(envvar="EXPUNGE_DATA_DIR", help="The data folder of the service.")]


JsonOutput = Annotated[bool, typer.Option("--json", help="Print one JSON object and no progress bar.")]


Result = TypeVar("Result")


def inject_options(
    parameter: str, make: Callable[..., Any]
) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Replace a parameter of a command by the options of ``make``, and pass what ``make`` returns for it.

    So options that several commands share are declared once, as the parameters of ``make``.
    """

    def decorate(function: Callable[..., Result]) -> Callable[..., Result]:
        shared = signature(make, eval_str=True).parameters
        own = [option for name, option in signature(function, eval_str=True).parameters.items() if name != parameter]
        options = sorted([*shared.values(), *own], key=lambda option: option.default is not option.empty)

        @wraps(function)
        def call(**given: Any) -> Result:
            made = make(**{name: given.pop(name) for name in shared})
            return function(**{parameter: made}, **given)

        keywords = [option.replace(kind=Parameter.KEYWORD_ONLY) for option in options]
        call.__signature__ = Signature(keywords)  # type: ignore[attr-defined]
        call.__annotations__ = {option.name: option.annotation for option in keywords}
        return call

    return decorate
