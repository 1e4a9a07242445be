"""Options that several commands share, declared once, and the request that they mean."""

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer

from api_schemas.attacks import ATTACK_TITLES
from api_schemas.cli.removal_arguments import SYNTAX, Wishes, build_request
from api_schemas.edits import EditRequest, Validation
from api_schemas.errors import UsageError
from api_schemas.gates import PublishPolicy

DEFAULTS = Validation()
"""What a command line means that does not say otherwise: the same as a request that does not."""

ModelId = Annotated[str, typer.Option("--model", help="The base model.")]
Remove = Annotated[
    list[str],
    typer.Option("--remove", metavar="CONCEPT[=REPLACEMENT]", help=f"{SYNTAX} Repeatable."),
]
Preserve = Annotated[list[str], typer.Option("--preserve", metavar="CONCEPT", help="Protect this concept. Repeatable.")]
Alias = Annotated[
    list[str], typer.Option("--alias", metavar="CONCEPT=NAME", help='Another name, as in "fox=vixen". Repeatable.')
]
Title = Annotated[
    list[str],
    typer.Option(metavar="CONCEPT=TITLE", help='A work, as in "van gogh=starry night". Repeatable.'),
]
Translation = Annotated[
    list[str],
    typer.Option(metavar="CONCEPT=TAG:NAME", help='A name in another language, as in "fox=fr:renard". Repeatable.'),
]
Spelling = Annotated[
    list[str],
    typer.Option(
        metavar="CONCEPT=SPELLING", help='Spell it so, in place of what is made by rule: "fox=foxx". Repeatable.'
    ),
]
NoSpellings = Annotated[bool, typer.Option("--no-spellings", help="Make no spellings by rule.")]
Exclude = Annotated[
    list[str],
    typer.Option(metavar="NAME", help="Leave this name out of what `expunge prompts` lists. Repeatable."),
]
Pin = Annotated[list[str], typer.Option(metavar="PROMPT", help="This prompt must not change at all. Repeatable.")]
Preset = Annotated[Literal["default", "paper"], typer.Option(help="paper: the published procedure, for comparison.")]
AimChoice = Annotated[
    Literal["attention", "residual", "last_layer"],
    typer.Option("--aim", help="What becomes equal to the destination's."),
]
SitesChoice = Annotated[
    str,
    typer.Option("--sites", metavar="auto|LAYERS", help="Layers to edit, such as 0 or 0,1; auto follows the trace."),
]
Preservation = Annotated[str, typer.Option(metavar="auto|WEIGHT", help="More keeps more and removes less.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same files.")]
Seeds = Annotated[int, typer.Option(min=1, max=16, help="Validation images per prompt.")]
Steps = Annotated[int, typer.Option(min=1, max=150, help="Sampler steps per validation image.")]
Guidance = Annotated[float, typer.Option(min=1, max=20, help="Guidance of the validation images.")]
Prompts = Annotated[int, typer.Option(min=1, max=2000, help="At most this many prompts in each group of a concept.")]
RetainPrompts = Annotated[int, typer.Option(min=0, max=2000, help="At most this many unrelated prompts.")]
AttackNames = Annotated[
    list[str],
    typer.Option(
        "--attack", metavar="NAME[=BUDGET]", help=f"Attack the edit: all, or {', '.join(ATTACK_TITLES)}. Repeatable."
    ),
]
ReadFeatures = Annotated[bool, typer.Option("--features", help="Score features inside of the model before and after.")]
PolicyChoice = Annotated[
    str | None,
    typer.Option("--policy", metavar="NAME", help="A named policy, such as strict, takes the thresholds' place."),
]
PublishChoice = Annotated[
    PublishPolicy | None, typer.Option("--publish", help="Whether weights are published that did not pass.")
]
NoValidate = Annotated[bool, typer.Option("--no-validate", help="Only edit: no images, no verdict.")]
WithholdNames = Annotated[
    bool, typer.Option("--withhold-names", help="Names stay out of published files; only the private report has them.")
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the files go.")]
DeltaOnly = Annotated[
    bool, typer.Option("--delta-only", help="No full weights: make them when needed, with `expunge apply`.")
]
ModelDir = Annotated[
    Path | None,
    typer.Option(metavar="PATH", help="A model's folder in diffusers' layout, or its one file, in place of --model."),
]
LedgerDir = Annotated[Path, typer.Argument(metavar="DIR", file_okay=False, help="The ledger's folder.")]
JoinLedger = Annotated[
    Path | None,
    typer.Option("--ledger", metavar="DIR", file_okay=False, help="Together with all that this ledger's folder holds."),
]
SignWith = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", envvar="EXPUNGE_SIGNING_DIR", file_okay=False, help="Sign with the newest key of this folder."
    ),
]
JsonOutput = Annotated[bool, typer.Option("--json", help="Print one JSON object, and no progress.")]


Made = TypeVar("Made")
NONE: list[str] = []
"""Not given."""


def takes(parameter: str, make: Callable[..., Any]) -> Callable[[Callable[..., Made]], Callable[..., Made]]:
    """Options that several commands share are declared once: they are the parameters of ``make``.

    The decorated function is called with what ``make`` returns as ``parameter``, and has those options in its place.
    """

    def decorate(function: Callable[..., Made]) -> Callable[..., Made]:
        shared = signature(make, eval_str=True).parameters
        own = [option for name, option in signature(function, eval_str=True).parameters.items() if name != parameter]
        options = sorted([*shared.values(), *own], key=lambda option: option.default is not option.empty)

        @wraps(function)
        def call(**given: Any) -> Made:
            made = make(**{name: given.pop(name) for name in shared})
            return function(**{parameter: made}, **given)

        keywords = [option.replace(kind=Parameter.KEYWORD_ONLY) for option in options]
        call.__signature__ = Signature(keywords)  # type: ignore[attr-defined]
        call.__annotations__ = {option.name: option.annotation for option in keywords}
        return call

    return decorate


def wishes_from_options(
    preserve: Preserve = NONE,
    alias: Alias = NONE,
    title: Title = NONE,
    translation: Translation = NONE,
    spelling: Spelling = NONE,
    no_spellings: NoSpellings = False,
    exclude: Exclude = NONE,
) -> Wishes:
    """What is said about the removals."""
    return Wishes(preserve, exclude, alias, title, translation, spelling, no_spellings)


def solve_from_options(
    pin: Pin = NONE,
    preset: Preset = "default",
    preservation: Preservation = "auto",
    aim: AimChoice = "attention",
    sites: SitesChoice = "0",
) -> dict[str, Any]:
    """How the edit is computed: the request's `options`."""
    weight, layers = _weight(preservation), _layers(sites)
    return {"preset": preset, "preservation": weight, "aim": aim, "sites": layers, "pins": list(pin)}


@takes("options", solve_from_options)
@takes("wishes", wishes_from_options)
def request_from_options(
    remove: Remove,
    wishes: Wishes,
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
    attack: AttackNames = NONE,
    features: ReadFeatures = False,
    withhold_names: WithholdNames = False,
) -> EditRequest:
    """The request. Raises `UsageError`, naming the option."""
    return build_request(
        remove,
        wishes,
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
            "attacks": _attacks(attack),
            "features": features,
        },
    )


def _attacks(texts: list[str]) -> dict[str, Any]:
    """`names`, `resurgence=300`, `all` -> the request's `attacks`; what is no built-in one is a plug-in's."""
    asked: dict[str, Any] = {"plugins": {}}
    for text in texts:
        name, _, budget = text.partition("=")
        if budget and not budget.isdigit():
            raise UsageError(f'--attack "{text}" has no whole number for a budget.', remedy="Write NAME=BUDGET.")
        wish = {"enabled": True} | ({"budget": int(budget)} if budget else {})
        for one in ATTACK_TITLES if name == "all" else (name,):
            (asked if one in ATTACK_TITLES else asked["plugins"])[one] = wish
    return asked


def _layers(text: str) -> list[int] | str:
    if text == "auto":
        return text
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f'--sites "{text}" are no layers.', remedy="Say auto, or numbers such as 0,1.") from error


def _weight(text: str) -> float | str:
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f'--preservation "{text}" is no number.', remedy="Leave it out, or say auto.") from error
