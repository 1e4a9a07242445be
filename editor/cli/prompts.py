"""`expunge prompts`: what a removal would cover, to be read and trimmed before anything is edited."""

from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape

from api_schemas.cli.options import JsonOutput, ModelDir, ModelId, takes, wishes_from_options
from api_schemas.cli.removal_arguments import SYNTAX, Wishes, build_request
from api_schemas.conflicts import Conflict, LabelledRemoval
from api_schemas.report import NameRecord
from editor.cli.common import show_conflicts

if TYPE_CHECKING:
    from editor.prompts import Pair, PromptBook, Removal


class ReviewedPrompt(BaseModel):
    """A prompt that the edit would use."""

    text: str
    means: str
    tokens: list[str]
    """Without BOS, EOS and padding."""
    subject: tuple[int, int]
    """First and last of ``tokens`` that name the concept."""
    weight: float


class ReviewedRemoval(BaseModel):
    """What one removal covers."""

    concept: str
    kind: str
    destination: str
    destination_source: str
    names: list[NameRecord]
    prompts: list[ReviewedPrompt]


class Review(BaseModel):
    """What a request covers, and what in it is at odds."""

    removals: list[ReviewedRemoval]
    conflicts: list[Conflict]


@takes("wishes", wishes_from_options)
def prompts(
    remove: Annotated[list[str], typer.Argument(metavar="CONCEPT[=REPLACEMENT]...", help=SYNTAX)],
    wishes: Wishes,
    model: ModelId = "emoji",
    model_dir: ModelDir = None,
    json_output: JsonOutput = False,
) -> None:
    """List every name and every prompt that a removal would cover, with tokens. Nothing is edited.

    Leave names out with --exclude; the same options belong to `expunge edit` and `expunge erase`.
    """
    request = build_request(remove, wishes, model=model)
    from editor.emoji.locate import embedded_model_folder
    from editor.prompts import find_conflicts, open_book
    from editor.prompts.resolve_request import resolve

    book = open_book(model_dir or embedded_model_folder(model))
    labelled = [LabelledRemoval(removal.concept, removal) for removal in request.removals]
    found = Review(
        removals=[review(removal, book) for removal in resolve(request, book)],
        conflicts=find_conflicts(labelled, book.tokenizer),
    )
    if json_output:
        typer.echo(found.model_dump_json())
    else:
        show(found, Console(highlight=False, soft_wrap=True))


def review(removal: "Removal", book: "PromptBook") -> ReviewedRemoval:
    """One removal."""
    return ReviewedRemoval(
        concept=removal.concept.name,
        kind=removal.concept.kind,
        destination=removal.destination.words,
        destination_source=removal.destination.source,
        names=[NameRecord(text=name.text, source=name.source) for name in book.expand(removal).names],
        prompts=[reviewed(pair, book) for pair in book.edit_pairs(removal)],
    )


def reviewed(pair: "Pair", book: "PromptBook") -> ReviewedPrompt:
    """One prompt."""
    ids = pair.concept.ids[1 : pair.concept.eos].tolist()
    return ReviewedPrompt(
        text=pair.concept.text,
        means=pair.destination.text,
        tokens=book.tokenizer.convert_ids_to_tokens(ids),
        subject=(pair.first_subject - 1, pair.last_subject - 1),
        weight=pair.weight,
    )


def show(found: Review, console: Console) -> None:
    """For people."""
    for removal in found.removals:
        console.print(
            f"[bold]{escape(removal.concept)}[/] → {meaning(removal.destination)} ({removal.destination_source})"
        )
        for name in removal.names:
            console.print(f"  {name.source:<12}{escape(name.text)}")
        console.print(f"  {len(removal.prompts)} prompts; the concept’s tokens are between ‹ and ›")
        for prompt in removal.prompts:
            console.print(f"    {marked(prompt)} → {meaning(prompt.means)}")
    show_conflicts(found.conflicts, console)


def meaning(words: str) -> str:
    """What something shall mean."""
    return escape(words) or "[dim]the empty prompt[/]"


def marked(prompt: ReviewedPrompt) -> str:
    """Tokens between dots, words between blanks, the subject between marks."""
    first, last = prompt.subject
    pieces = []
    for i, token in enumerate(prompt.tokens):
        word = escape(token.removesuffix("</w>"))
        opened = f"[cyan]‹{word}" if i == first else word
        closed = f"{opened}›[/]" if i == last else opened
        pieces.append(closed + (" " if token.endswith("</w>") else "·"))
    return "".join(pieces).rstrip()
