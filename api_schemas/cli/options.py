"""Options that several commands share, declared once, and the request that they build."""

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer

from api_schemas.attacks import ATTACK_TITLES
from api_schemas.cli.removal_arguments import SYNTAX, RemovalOptions, build_request
from api_schemas.edits import EditRequest, Validation
from api_schemas.errors import UsageError
from api_schemas.gates import PublishPolicy

DEFAULTS = Validation()
"""The defaults of the command line are those of the API."""

ModelId = Annotated[str, typer.Option("--model", help="The id of the base model.")]
Remove = Annotated[
    list[str],
    typer.Option("--remove", metavar="CONCEPT[=REPLACEMENT]", help=f"{SYNTAX} Repeatable."),
]
Preserve = Annotated[
    list[str], typer.Option("--preserve", metavar="CONCEPT", help="Keep this concept unchanged. Repeatable.")
]
Alias = Annotated[
    list[str],
    typer.Option("--alias", metavar="CONCEPT=NAME", help='Also remove another name, as in "fox=vixen". Repeatable.'),
]
Title = Annotated[
    list[str],
    typer.Option(
        metavar="CONCEPT=TITLE", help='Also remove a work by title, as in "van gogh=starry night". Repeatable.'
    ),
]
Translation = Annotated[
    list[str],
    typer.Option(
        metavar="CONCEPT=TAG:NAME", help='Also remove a name in another language, as in "fox=fr:renard". Repeatable.'
    ),
]
Spelling = Annotated[
    list[str],
    typer.Option(
        metavar="CONCEPT=SPELLING",
        help='Use this spelling instead of the generated variants, as in "fox=foxx". Repeatable.',
    ),
]
NoSpellings = Annotated[bool, typer.Option("--no-spellings", help="Generate no spelling variants.")]
Exclude = Annotated[
    list[str],
    typer.Option(metavar="NAME", help="Do not cover this name, as listed by `expunge prompts`. Repeatable."),
]
Pin = Annotated[list[str], typer.Option(metavar="PROMPT", help="Keep this prompt exactly unchanged. Repeatable.")]
Preset = Annotated[
    Literal["default", "paper"], typer.Option(help="paper: the procedure published as Diff-QuickFix, for comparison.")
]
AimChoice = Annotated[
    Literal["attention", "residual", "last_layer"],
    typer.Option("--aim", help="Which activation is matched to the target prompt's."),
]
SitesChoice = Annotated[
    str,
    typer.Option(
        "--sites", metavar="auto|LAYERS", help="Layers to edit, such as 0 or 0,1; auto: the layer that the trace finds."
    ),
]
Preservation = Annotated[
    str,
    typer.Option(
        metavar="auto|WEIGHT", help="Weight of the preservation term: larger values erase less and preserve more."
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Random seed; the same seed gives the same files.")]
Seeds = Annotated[int, typer.Option(min=1, max=16, help="Validation images per prompt.")]
Steps = Annotated[int, typer.Option(min=1, max=150, help="Sampler steps per validation image.")]
Guidance = Annotated[float, typer.Option(min=1, max=20, help="Classifier-free guidance of the validation images.")]
Prompts = Annotated[int, typer.Option(min=1, max=2000, help="Maximum number of prompts in each group of a concept.")]
RetainPrompts = Annotated[int, typer.Option(min=0, max=2000, help="Maximum number of unrelated prompts.")]
AttackNames = Annotated[
    list[str],
    typer.Option(
        "--attack",
        metavar="NAME[=BUDGET]",
        help=f"Run an attack on the edit: all, or {', '.join(ATTACK_TITLES)}. Repeatable.",
    ),
]
ReadFeatures = Annotated[
    bool, typer.Option("--features", help="Score features inside the model before and after the edit.")
]
PolicyChoice = Annotated[
    str | None,
    typer.Option("--policy", metavar="NAME", help="Use the thresholds of a named policy, such as strict."),
]
PublishChoice = Annotated[
    PublishPolicy | None,
    typer.Option(
        "--publish", help="always: publish the weights even if validation fails; only_if_passed: only if it passes."
    ),
]
NoValidate = Annotated[bool, typer.Option("--no-validate", help="Only edit: generate no images and give no verdict.")]
WithholdNames = Annotated[
    bool,
    typer.Option(
        "--withhold-names", help="Keep concept names out of published files; only the private report has them."
    ),
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Output folder.")]
DeltaOnly = Annotated[
    bool, typer.Option("--delta-only", help="Write no full weights; `expunge apply` makes them from the delta.")
]
ModelDir = Annotated[
    Path | None,
    typer.Option(metavar="PATH", help="A diffusers folder or single-file checkpoint; overrides --model."),
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
NOT_GIVEN: list[str] = []


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


def read_removal_options(
    preserve: Preserve = NOT_GIVEN,
    alias: Alias = NOT_GIVEN,
    title: Title = NOT_GIVEN,
    translation: Translation = NOT_GIVEN,
    spelling: Spelling = NOT_GIVEN,
    no_spellings: NoSpellings = False,
    exclude: Exclude = NOT_GIVEN,
) -> RemovalOptions:
    """Return the options that apply to the removals."""
    return RemovalOptions(preserve, exclude, alias, title, translation, spelling, no_spellings)


def read_solve_options(
    pin: Pin = NOT_GIVEN,
    preset: Preset = "default",
    preservation: Preservation = "auto",
    aim: AimChoice = "attention",
    sites: SitesChoice = "0",
) -> dict[str, Any]:
    """Return the `options` of the request: how the edit is computed."""
    weight, layers = parse_weight(preservation), parse_layers(sites)
    return {"preset": preset, "preservation": weight, "aim": aim, "sites": layers, "pins": list(pin)}


@inject_options("options", read_solve_options)
@inject_options("removal_options", read_removal_options)
def read_request(
    remove: Remove,
    removal_options: RemovalOptions,
    options: dict[str, Any],
    model: ModelId = "emoji",
    seed: Seed = 0,
    seeds: Seeds = DEFAULTS.seeds,
    steps: Steps = DEFAULTS.steps,
    guidance: Guidance = DEFAULTS.guidance,
    prompts: Prompts = DEFAULTS.prompts,
    retain_prompts: RetainPrompts = DEFAULTS.retain_prompts,
    policy: PolicyChoice = None,
    publish_policy: PublishChoice = None,
    no_validate: NoValidate = False,
    attack: AttackNames = NOT_GIVEN,
    features: ReadFeatures = False,
    withhold_names: WithholdNames = False,
) -> EditRequest:
    """Return the request that the options describe. Raises `UsageError`, naming the option."""
    return build_request(
        remove,
        removal_options,
        model=model,
        seed=seed,
        options=options,
        withhold_names=withhold_names,
        validation={
            "enabled": not no_validate,
            "seeds": seeds,
            "steps": steps,
            "guidance": guidance,
            "prompts": prompts,
            "retain_prompts": retain_prompts,
            "policy": policy,
            "publish_policy": publish_policy,
            "attacks": parse_attacks(attack),
            "features": features,
        },
    )


def parse_attacks(texts: list[str]) -> dict[str, Any]:
    """Parse `names`, `resurgence=300`, `all` into the request's `attacks`; other names are plug-ins."""
    attacks: dict[str, Any] = {"plugins": {}}
    for text in texts:
        name, _, budget = text.partition("=")
        if budget and not budget.isdigit():
            raise UsageError(f'--attack "{text}": the budget is not a whole number.', remedy="Write NAME=BUDGET.")
        settings = {"enabled": True} | ({"budget": int(budget)} if budget else {})
        for one in ATTACK_TITLES if name == "all" else (name,):
            (attacks if one in ATTACK_TITLES else attacks["plugins"])[one] = settings
    return attacks


def parse_layers(text: str) -> list[int] | str:
    """Parse `auto`, `0` or `0,1`."""
    if text == "auto":
        return text
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(
            f'--sites "{text}" is not a list of layers.', remedy="Write auto, or numbers such as 0,1."
        ) from error


def parse_weight(text: str) -> float | str:
    """Parse `auto` or a number."""
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f'--preservation "{text}" is not a number.', remedy="Write a number, or auto.") from error
