"""From a request as it arrived to removals that the prompts can be built from."""

from collections.abc import Iterator

from api_schemas.edits import EditRequest
from api_schemas.edits import Removal as RequestedRemoval
from editor.errors import ConceptError
from editor.prompts import Concept, PromptBook, Removal, destination_of


def resolve(request: EditRequest, book: PromptBook) -> list[Removal]:
    """The removals of a request, with their destinations.

    Raises:
        ConceptError: a phrase leaves no room for any prompt; ``field`` names it.
    """
    for index, requested in enumerate(request.removals):
        for field, phrase in phrases(requested):
            if not book.fits(f"a picture of a {phrase}"):
                raise ConceptError(
                    f"{phrase!r} is too long for the {book.context} tokens that the model reads.",
                    field=f"removals[{index}].{field}",
                    remedy="Use a shorter name.",
                )
    return [resolved(requested, book) for requested in request.removals]


def phrases(requested: RequestedRemoval) -> Iterator[tuple[str, str]]:
    """Each phrase that enters prompts, with its field."""
    yield "concept", requested.concept
    yield from ((name, value) for name in ("replacement", "generic") if (value := getattr(requested, name)))
    for name in ("aliases", "preserve"):
        yield from ((f"{name}[{i}]", value) for i, value in enumerate(getattr(requested, name)))


def resolved(requested: RequestedRemoval, book: PromptBook) -> Removal:
    """One removal."""
    concept = Concept(requested.concept, requested.kind)
    destination = destination_of(concept, requested.replacement, requested.generic, book.profile)
    return Removal(concept, destination, tuple(requested.aliases), tuple(requested.preserve))
