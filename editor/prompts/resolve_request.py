"""From a request as it arrived to removals that the prompts can be built from."""

from api_schemas.edits import EditRequest
from api_schemas.edits import Removal as RequestedRemoval
from api_schemas.problems import Location, field_path
from editor.errors import ConceptError
from editor.prompts import Concept, PromptBook, Removal, destination_of


def resolve(request: EditRequest, book: PromptBook, *, each_alone: bool = False) -> list[Removal]:
    """The removals of a request, with their destinations. The result depends on nothing but the request and the book.

    Args:
        each_alone: no removal's names depend on the others', as in a ledger.

    Raises:
        ConceptError: a phrase leaves no room for any prompt, or a pinned prompt does not fit; ``field`` names it.
    """
    for index, requested in enumerate(request.removals):
        for location, phrase in requested.phrases():
            check_fit(book, f"a picture of a {phrase}", phrase, ("removals", index, *location))
    for index, pin in enumerate(request.options.pins):
        check_fit(book, pin, pin, ("options", "pins", index))
    return [resolved(asked, book, [asked] if each_alone else request.removals) for asked in request.removals]


def check_fit(book: PromptBook, prompt: str, phrase: str, location: Location) -> None:
    """Raise ConceptError unless ``prompt`` fits the context."""
    if not book.fits(prompt):
        raise ConceptError(
            f"{phrase!r} is too long for the {book.context} tokens that the model reads.",
            field=field_path(location),
            remedy="Use fewer or commoner words.",
        )


def resolved(requested: RequestedRemoval, book: PromptBook, together: list[RequestedRemoval]) -> Removal:
    """One removal, beside those that it was asked ``together`` with."""
    concept = Concept(requested.concept, requested.kind)
    others = (phrase for other in together if other is not requested for _, phrase in other.phrases())
    return Removal(
        concept,
        destination_of(concept, requested.replacement, requested.generic, book.profile),
        aliases=tuple(requested.aliases),
        preserve=tuple(requested.preserve),
        titles=tuple(requested.titles),
        translations=tuple(name for names in requested.translations.values() for name in names),
        spellings="auto" if requested.spellings == "auto" else tuple(requested.spellings),
        exclude=tuple(requested.exclude),
        taken=tuple(dict.fromkeys(others)),
    )
