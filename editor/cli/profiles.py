"""`expunge profiles`: the objects, styles and prompt templates from which edits are computed and judged."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api_schemas.cli.common_options import JsonOutput
from api_schemas.cli.main import NOT_PASSED
from api_schemas.cli.removal_arguments import parse_removal
from api_schemas.errors import UsageError

if TYPE_CHECKING:
    from editor.prompts.profile import Profile
    from editor.prompts.suggestions import ConceptSuggestion
    from editor.prompts.tokenizer_cache import TokenizerCache

profiles = typer.Typer(
    help="List, show and check profiles: what a model can generate, and in which words.",
    no_args_is_help=True,
    add_completion=False,
)
CONTEXT_LENGTH = 77
"""Tokens that CLIP reads."""

ProfileName = Annotated[
    str,
    typer.Argument(
        metavar="PROFILE",
        help="A shipped profile (general, emoji), a profile's JSON file, or a model's folder or file.",
    ),
]


@profiles.command("list")
def listing(
    model: Annotated[
        Path | None, typer.Argument(metavar="MODEL", exists=True, help="Also list the profile that this model uses.")
    ] = None,
    json_output: JsonOutput = False,
) -> None:
    """List the shipped profiles, and that of a model."""
    from editor.prompts import load_profile

    found = shipped_profiles() | ({str(model): load_profile(model)} if model else {})
    rows = [{"profile": name, **count_names(profile)} for name, profile in found.items()]
    if json_output:
        typer.echo(json.dumps(rows))
        return
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)


@profiles.command("show")
def show(
    profile: ProfileName,
    concept: Annotated[
        str | None,
        typer.Option(
            metavar="[KIND:]NAME", help="Show this concept's group, parent class, suggested replacement and neighbours."
        ),
    ] = None,
    json_output: JsonOutput = False,
) -> None:
    """Show the groups, styles and templates of a profile, or what it suggests for a concept."""
    found, console = open_profile(profile), Console(highlight=False)
    if concept is not None:
        print_suggestion(suggest(found, concept), console, json_output)
    elif json_output:
        typer.echo(found.model_dump_json())
    else:
        print_profile(found, console)


@profiles.command("check")
def check(profile: ProfileName, json_output: JsonOutput = False) -> None:
    """Check a profile: its schema, duplicates, length of names in CLIP tokens, and overlap of its templates.

    Prints every problem. Exit code: 0 there are none; 1 there are some; 2 the file is not a profile.
    """
    from editor.prompts.profile_checks import find_profile_problems

    problems = find_profile_problems(open_profile(profile), open_clip_tokenizer())
    if json_output:
        typer.echo(json.dumps({"problems": problems}))
    else:
        typer.echo("\n".join(problems) or "no problems")
    if problems:
        raise typer.Exit(NOT_PASSED)


def shipped_profiles() -> dict[str, "Profile"]:
    """Return the profiles that ship with Expunge, by name."""
    from editor.emoji.profile import PROFILE
    from editor.prompts.profile import general_profile

    return {"general": general_profile(), "emoji": PROFILE}


def open_profile(name: str) -> "Profile":
    """Return a shipped profile, that of a JSON file, or that of a model.

    Raises:
        UsageError: there is no such profile or file.
        CheckpointError: the file is not a valid profile.
    """
    from editor.prompts.profile import load_profile, read_profile

    shipped, path = shipped_profiles(), Path(name)
    if name in shipped:
        return shipped[name]
    if not path.exists():
        raise UsageError(
            f"There is no profile {name!r}.",
            field="profile",
            remedy=f"Name {' or '.join(shipped)}, a JSON file, or a model's folder.",
        )
    return read_profile(path) if path.suffix == ".json" else load_profile(path)


def open_clip_tokenizer() -> "TokenizerCache":
    """Return CLIP's own tokenizer."""
    from editor.checkpoints.clip_tokenizer_files import ClipSettings
    from editor.checkpoints.prompt_tokenizer import EOS
    from editor.checkpoints.tokenizers import prompt_tokenizer
    from editor.prompts.tokenizer_cache import TokenizerCache

    return TokenizerCache(prompt_tokenizer(ClipSettings(EOS, CONTEXT_LENGTH), CONTEXT_LENGTH))


def suggest(profile: "Profile", concept: str) -> "ConceptSuggestion":
    """Return what a profile suggests for a concept, written as at ``expunge erase``. Raises UsageError."""
    from editor.prompts import Concept
    from editor.prompts.suggestions import suggest_for_concept

    removal = parse_removal(concept)
    return suggest_for_concept(profile, open_clip_tokenizer(), Concept(removal.concept, removal.kind))


def count_names(profile: "Profile") -> dict[str, int]:
    """Return how much a profile lists."""
    wordings = (*profile.styled_wordings, *profile.plain_wordings, *profile.held_out_wordings)
    return {
        "objects": len(profile.object_names),
        "groups": len(profile.objects),
        "styles": len(profile.styles),
        "other names": sum(len(names) for groups in profile.names.values() for names in groups.values()),
        "wordings": len(wordings),
    }


def print_profile(profile: "Profile", console: Console) -> None:
    """Print the groups, styles and templates of a profile."""
    table = Table("group", "parent", "names")
    for group, names in profile.objects.items():
        table.add_row(escape(group), escape(profile.parents.get(group, "")), escape(", ".join(names)))
    table.add_row("styles", "", escape(", ".join(profile.styles)))
    for kind, groups in profile.names.items():
        for group, names in groups.items():
            table.add_row(escape(f"{kind}: {group}"), "", escape(", ".join(names)))
    console.print(table)
    for field, texts in template_fields(profile).items():
        console.print(f"[bold]{field}[/]")
        for text in filter(None, texts):
            console.print(f"  {escape(text.strip())}", soft_wrap=True)


def template_fields(profile: "Profile") -> Mapping[str, tuple[str, ...]]:
    """Return the templates of a profile by field."""
    fields = ("plain_wordings", "styled_wordings", "held_out_wordings", "prefixes", "suffixes", "negative_prompts")
    return {field: getattr(profile, field) for field in fields}


def print_suggestion(found: "ConceptSuggestion", console: Console, json_output: bool) -> None:
    """Print what a profile suggests for a concept."""
    if json_output:
        typer.echo(json.dumps(found.record()))
        return
    if found.group is None:
        console.print(f"{escape(found.concept)} is not in the profile.")
        return
    shown: dict[str, Any] = found.record() | {"neighbours": ", ".join(found.neighbours)}
    for field, value in shown.items():
        console.print(f"{field:<12} {escape(str(value or '-'))}", soft_wrap=True)
