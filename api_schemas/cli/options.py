"""The options of a removal request, and the request that they build."""

import re
from typing import Annotated, Any, Literal, get_args

import typer

from api_schemas.attacks import ATTACK_TITLES
from api_schemas.cli.common_options import ModelId, Seed, inject_options
from api_schemas.cli.removal_arguments import SYNTAX, RemovalOptions, build_request
from api_schemas.edits import EditRequest, MethodName, SiteName, Validation
from api_schemas.errors import UsageError
from api_schemas.gates import PublishPolicy

DEFAULTS = Validation()
"""The defaults of the command line are those of the API."""
WHOLE_NUMBER = re.compile("[0-9]{1,9}")

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
ExcludePrompt = Annotated[
    list[str],
    typer.Option(
        metavar="PROMPT",
        help="Do not compute the edit from this prompt, one of those that POST /v1/edits:validate lists. Repeatable.",
    ),
]
Pin = Annotated[list[str], typer.Option(metavar="PROMPT", help="Keep this prompt exactly unchanged. Repeatable.")]
Method = Annotated[MethodName, typer.Option(help="default, or a published method for comparison.")]
AimChoice = Annotated[
    Literal["attention", "residual", "last_layer"],
    typer.Option("--aim", help="Which activation is matched to the target prompt's."),
]
SitesChoice = Annotated[
    str,
    typer.Option(
        "--sites",
        metavar="default|auto|all|LAYERS|NAMES",
        help="What to edit. default: the first layer of the text encoders, and the text gate of models that read T5; auto: the "
        "layer that the trace finds; all: every way that text takes into the image; layers, such as 0 or 0,1; or names such as "
        "text_encoder,cross_attention.",
    ),
]
Preservation = Annotated[
    str,
    typer.Option(
        metavar="auto|WEIGHT", help="Weight of the preservation term: larger values erase less and preserve more."
    ),
]
Seeds = Annotated[int, typer.Option(min=1, max=16, help="Validation images per prompt.")]
Steps = Annotated[
    int | None,
    typer.Option(min=1, max=150, help="Sampler steps per validation image; default: as usual for the model."),
]
Guidance = Annotated[
    float | None,
    typer.Option(min=0, max=20, help="Guidance of the validation images; default: as usual for the model."),
]
Height = Annotated[
    int | None,
    typer.Option(min=64, max=4096, help="Height of the validation images, with --width; default: the model's."),
]
Width = Annotated[
    int | None,
    typer.Option(min=64, max=4096, help="Width of the validation images, with --height; default: the model's."),
]
Prompts = Annotated[int, typer.Option(min=1, max=2000, help="Maximum number of prompts in each group of a concept.")]
TopUp = Annotated[
    int,
    typer.Option(
        min=1, max=8, help="How many times the numbers of prompts may be used while a threshold is undecided."
    ),
]
Rounds = Annotated[
    int,
    typer.Option(min=0, max=20, help="Rounds in which an edit that did not pass is strengthened and measured again."),
]
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


NOT_GIVEN: list[str] = []


def read_removal_options(
    preserve: Preserve = NOT_GIVEN,
    alias: Alias = NOT_GIVEN,
    title: Title = NOT_GIVEN,
    translation: Translation = NOT_GIVEN,
    spelling: Spelling = NOT_GIVEN,
    no_spellings: NoSpellings = False,
    exclude: Exclude = NOT_GIVEN,
    exclude_prompt: ExcludePrompt = NOT_GIVEN,
) -> RemovalOptions:
    """Return the options that apply to the removals."""
    return RemovalOptions(preserve, exclude, exclude_prompt, alias, title, translation, spelling, no_spellings)


def read_solve_options(
    pin: Pin = NOT_GIVEN,
    method: Method = "default",
    preservation: Preservation = "auto",
    aim: AimChoice = "attention",
    sites: SitesChoice = "default",
) -> dict[str, Any]:
    """Return the `options` of the request: how the edit is computed."""
    weight, layers = parse_weight(preservation), parse_sites(sites)
    return {"method": method, "preservation": weight, "aim": aim, "sites": layers, "pins": list(pin)}


@inject_options("options", read_solve_options)
@inject_options("removal_options", read_removal_options)
def read_request(
    remove: Remove,
    removal_options: RemovalOptions,
    options: dict[str, Any],
    model: ModelId = "emoji",
    seed: Seed = 0,
    seeds: Seeds = DEFAULTS.seeds,
    steps: Steps = None,
    guidance: Guidance = None,
    height: Height = None,
    width: Width = None,
    prompts: Prompts = DEFAULTS.prompts,
    retain_prompts: RetainPrompts = DEFAULTS.retain_prompts,
    top_up: TopUp = DEFAULTS.top_up,
    rounds: Rounds = DEFAULTS.budget.rounds,
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
            "height": height,
            "width": width,
            "prompts": prompts,
            "retain_prompts": retain_prompts,
            "top_up": top_up,
            "budget": {"rounds": rounds},
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
        if budget and not WHOLE_NUMBER.fullmatch(budget):
            raise UsageError(f'--attack "{text}": the budget is not a whole number.', remedy="Write NAME=BUDGET.")
        settings = {"enabled": True} | ({"budget": int(budget)} if budget else {})
        for one in ATTACK_TITLES if name == "all" else (name,):
            (attacks if one in ATTACK_TITLES else attacks["plugins"])[one] = settings
    return attacks


def parse_sites(text: str) -> list[int] | list[str] | str:
    """Parse `default`, `auto`, `all`, `0,1` or `text_encoder,cross_attention`."""
    if text in ("default", "auto", "all"):
        return text
    parts = text.split(",")
    if all(part in get_args(SiteName) for part in parts):
        return parts
    try:
        return [int(part) for part in parts]
    except ValueError as error:
        names = ", ".join(get_args(SiteName))
        raise UsageError(
            f'--sites "{text}" names no sites.',
            remedy=f"Write default, auto, all, numbers such as 0,1, or names among {names}.",
        ) from error


def parse_weight(text: str) -> float | str:
    """Parse `auto` or a number."""
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f'--preservation "{text}" is not a number.', remedy="Write a number, or auto.") from error
