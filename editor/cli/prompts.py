"""`expunge prompts`: review what a removal would cover before anything is edited."""

from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape

from api_schemas.cli.common_options import JsonOutput, ModelDir, ModelId, inject_options
from api_schemas.cli.options import read_removal_options
from api_schemas.cli.removal_arguments import SYNTAX, RemovalOptions, build_request
from api_schemas.conflicts import Conflict
from api_schemas.report import NameRecord
from editor.cli.common import print_concept_hints, print_conflicts
from editor.cli.profile_option import ProfileFile, read_profile_option
from editor.emoji.locate import embedded_model_folder

if TYPE_CHECKING:
    from editor.prompts import PromptBuilder, PromptPair, ResolvedRemoval


class ReviewedPrompt(BaseModel):
    """A prompt that the edit would use, and its target prompt."""

    text: str
    means: str
    tokens: list[str]
    """BOS, EOS and padding are left out."""
    subject: tuple[int, int]
    """Indices of the first and the last of ``tokens`` that name the concept."""
    weight: float


class ReviewedRemoval(BaseModel):
    """The names and prompts of one removal."""

    concept: str
    kind: str
    destination: str
    destination_source: str
    names: list[NameRecord]
    prompts: list[ReviewedPrompt]


class Review(BaseModel):
    """The removals of a request and the conflicts between them."""

    removals: list[ReviewedRemoval]
    conflicts: list[Conflict]


@inject_options("removal_options", read_removal_options)
def prompts(
    remove: Annotated[list[str], typer.Argument(metavar="CONCEPT[=REPLACEMENT]...", help=SYNTAX)],
    removal_options: RemovalOptions,
    model: ModelId = "emoji",
    model_dir: ModelDir = None,
    profile: ProfileFile = None,
    json_output: JsonOutput = False,
) -> None:
    """List every name and every prompt that a removal would cover, with tokens.

    Nothing is edited. Leave names out with --exclude; `expunge edit` and `expunge erase` take the same options.
    """
    model_path = model_dir or embedded_model_folder(model)
    request = build_request(remove, removal_options, model=model)
    from editor.checkpoints import open_checkpoint
    from editor.jobs.replacements import rank_replacements
    from editor.prompts import find_conflicts, label_removal, open_prompt_builders
    from editor.prompts.resolve_request import resolve_request

    checkpoint = open_checkpoint(model_path)
    builder = open_prompt_builders(checkpoint, read_profile_option(profile))[0]
    ranked = rank_replacements(request, checkpoint, [builder], None)
    print_concept_hints(request.removals, builder.profile, Console(stderr=True, quiet=json_output))
    labelled = [label_removal(removal.concept, removal, builder.profile) for removal in request.removals]
    found = Review(
        removals=[
            review_removal(removal, builder) for removal in resolve_request(request, builder, candidates=ranked.names)
        ],
        conflicts=find_conflicts(labelled, builder.tokenizer),
    )
    if json_output:
        typer.echo(found.model_dump_json())
    else:
        print_review(found, Console(highlight=False, soft_wrap=True))


def review_removal(removal: "ResolvedRemoval", builder: "PromptBuilder") -> ReviewedRemoval:
    """Return the names and prompts of one removal."""
    return ReviewedRemoval(
        concept=removal.concept.name,
        kind=removal.concept.kind,
        destination=removal.destination.words,
        destination_source=removal.destination.source,
        names=[NameRecord(text=name.text, source=name.source) for name in builder.expand(removal).names],
        prompts=[review_prompt(pair, builder) for pair in builder.edit_pairs(removal)],
    )


def review_prompt(pair: "PromptPair", builder: "PromptBuilder") -> ReviewedPrompt:
    """Return one prompt with its tokens."""
    ids = pair.concept.ids[1 : pair.concept.eos].tolist()
    return ReviewedPrompt(
        text=pair.concept.text,
        means=pair.destination.text,
        tokens=builder.tokenizer.convert_ids_to_tokens(ids),
        subject=(pair.first_subject - 1, pair.last_subject - 1),
        weight=pair.weight,
    )


def print_review(found: Review, console: Console) -> None:
    """Print every removal with its names and prompts, and the conflicts."""
    for removal in found.removals:
        console.print(
            f"[bold]{escape(removal.concept)}[/] → {prompt_or_empty(removal.destination)} ({removal.destination_source})"
        )
        for name in removal.names:
            console.print(f"  {name.source:<12}{escape(name.text)}")
        console.print(f"  {len(removal.prompts)} prompts; the concept’s tokens are between ‹ and ›")
        for prompt in removal.prompts:
            console.print(f"    {mark_subject(prompt)} → {prompt_or_empty(prompt.means)}")
    print_conflicts(found.conflicts, console)


def prompt_or_empty(words: str) -> str:
    """Escape a target prompt; name the empty one."""
    return escape(words) or "[dim]the empty prompt[/]"


def mark_subject(prompt: ReviewedPrompt) -> str:
    """Join tokens by dots and words by blanks, with the subject between ‹ and ›."""
    first, last = prompt.subject
    pieces = []
    for i, token in enumerate(prompt.tokens):
        word = escape(token.removesuffix("</w>"))
        opened = f"[cyan]‹{word}" if i == first else word
        closed = f"{opened}›[/]" if i == last else opened
        pieces.append(closed + (" " if token.endswith("</w>") else "·"))
    return "".join(pieces).rstrip()
