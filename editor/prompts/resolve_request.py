"""Resolve the removals of a request: choose destinations, and check that prompts fit the context."""

from collections.abc import Sequence

from api_schemas.edits import EditRequest
from api_schemas.edits import Removal as RequestedRemoval
from api_schemas.problems import Location, field_path
from editor.errors import ConceptError
from editor.prompts import Concept, PromptBuilder, ResolvedRemoval, choose_destination
from editor.prompts.automatic_replacement import choose_destinations
from editor.prompts.concepts import profile_class
from editor.prompts.prompt_builder import name_spans

MAX_CONTAINING_SHARE = 0.5
"""Share of the edit prompts that may contain a concept's name beside its own place."""
FUNCTION_WORDS = frozenset(
    (
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "by",
        "for",
        "from",
        "in",
        "is",
        "it",
        "of",
        "on",
        "or",
        "the",
        "this",
        "to",
        "with",
    )
)


def resolve_request(
    request: EditRequest,
    builder: PromptBuilder,
    *,
    each_alone: bool = False,
    candidates: Sequence[tuple[str, ...]] = (),
    others: Sequence[ResolvedRemoval] = (),
) -> list[ResolvedRemoval]:
    """Return the resolved removals of a request. The result depends only on the request and the builder.

    Args:
        request: the request.
        builder: the prompt builder of the first text encoder.
        each_alone: resolve every removal independently of the others, as a ledger does, but for their automatic replacements.
        candidates: for each removal the names that may become its automatic replacement, best first. Without them, it is the
            concept's class in the profile, or the null concept.
        others: removals of which no name may become an automatic replacement either.

    Raises:
        ConceptError: a phrase or a pinned prompt does not fit the context, or a concept's name is a word of most prompts, such
            as ``of``; ``field`` names it.
    """
    for index, requested in enumerate(request.removals):
        check_distinct(builder, Concept(requested.concept, requested.kind), ("removals", index, "concept"))
        for location, phrase in requested.phrases():
            check_fit(builder, f"a picture of a {phrase}", phrase, ("removals", index, *location))
    for index, pin in enumerate(request.options.pins):
        check_fit(builder, pin, pin, ("options", "pins", index))
    ranked = candidates or [() for _ in request.removals]
    resolved = [
        resolve_removal(one, builder, [one] if each_alone else request.removals, names)
        for one, names in zip(request.removals, ranked, strict=True)
    ]
    return choose_destinations(resolved, builder.profile, others)


def check_fit(builder: PromptBuilder, prompt: str, phrase: str, location: Location) -> None:
    """Raise ConceptError unless ``prompt`` fits the context."""
    if not builder.fits(prompt):
        raise ConceptError(
            f"{phrase!r} is too long for the {builder.context_length} tokens that the model reads.",
            field=field_path(location),
            remedy="Use fewer or commoner words.",
        )


def check_distinct(builder: PromptBuilder, concept: Concept, location: Location) -> None:
    """Raise ConceptError for a function word, and if most of the prompts that an edit uses contain the name already."""
    phrases = builder.contexts(concept.kind, concept.subject)
    containing = sum(bool(name_spans(concept.subject, phrase.surroundings)) for phrase in phrases)
    if concept.subject.lower() in FUNCTION_WORDS or containing > MAX_CONTAINING_SHARE * len(phrases):
        raise ConceptError(
            f"{concept.name!r} is a word that prompts about anything contain: {containing} of the {len(phrases)} prompts that "
            "the removal would be computed from.",
            field=field_path(location),
            remedy="Name something that an image can show.",
        )


def resolve_removal(
    requested: RequestedRemoval,
    builder: PromptBuilder,
    siblings: list[RequestedRemoval],
    candidates: tuple[str, ...] = (),
) -> ResolvedRemoval:
    """Resolve one removal of a request whose removals are ``siblings``, but for the choice among ``candidates``."""
    concept = Concept(requested.concept, requested.kind)
    if requested.chooses_replacement and not candidates:
        parent = profile_class(concept, builder.profile)
        candidates = (parent,) if parent else ()
    others = (phrase for other in siblings if other is not requested for _, phrase in other.phrases())
    return ResolvedRemoval(
        concept,
        choose_destination(concept, requested.named_replacement, requested.generic, builder.profile),
        aliases=tuple(requested.aliases),
        preserve=tuple(requested.preserve),
        titles=tuple(requested.titles),
        translations=tuple(name for names in requested.translations.values() for name in names),
        spellings="auto" if requested.spellings == "auto" else tuple(requested.spellings),
        exclude=tuple(requested.exclude),
        exclude_prompts=frozenset(requested.exclude_prompts),
        reserved_names=tuple(dict.fromkeys(others)),
        candidates=candidates,
    )
