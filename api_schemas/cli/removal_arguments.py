"""The command line's way to write a request, shared by `expunge edit` and `expunge erase`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from api_schemas.edits import EditRequest, Removal
from api_schemas.errors import UsageError
from api_schemas.problems import invalid_fields

Model = TypeVar("Model", bound=BaseModel)

SYNTAX = 'Write CONCEPT[=REPLACEMENT], as in "fox=dog face"; "style:ink=noto" removes a style.'
PLURALS = {"alias": "aliases", "title": "titles", "translation": "translations", "spelling": "spellings"}
EXAMPLES = {
    "alias": "fox=vixen",
    "title": "van gogh=starry night",
    "translation": "fox=fr:renard",
    "spelling": "fox=foxx",
}
KINDS: tuple[str, ...] = get_args(Removal.model_fields["kind"].annotation)


def parse_removal(text: str) -> Removal:
    """`fox`, `fox=dog face`, `style:ink=noto` -> `Removal`. Raises `UsageError`."""
    prefix, colon, rest = text.partition(":")
    kind, body = (prefix, rest) if colon and prefix in KINDS else ("object", text)
    concept, equals, replacement = body.partition("=")
    fields = {"kind": kind, "concept": concept} | ({"replacement": replacement} if equals else {})
    return _checked(Removal, fields, f'--remove "{text}"', SYNTAX)


@dataclass(frozen=True)
class Wishes:
    """What a command line says about its removals beside naming them. Each pair is `CONCEPT=NAME`."""

    preserve: Sequence[str] = ()
    """For every removal."""
    exclude: Sequence[str] = ()
    """For every removal."""
    aliases: Sequence[str] = ()
    titles: Sequence[str] = ()
    translations: Sequence[str] = ()
    """`CONCEPT=TAG:NAME`."""
    spellings: Sequence[str] = ()
    no_spellings: bool = False


def build_request(removals: Sequence[str], wishes: Wishes = Wishes(), **fields: Any) -> EditRequest:
    """The request that a command line means.

    Raises `UsageError`, naming the field.
    """
    drafts = [parse_removal(text).model_dump() | _for_all(wishes) for text in removals]
    for option, example in EXAMPLES.items():
        for text in getattr(wishes, PLURALS[option]):
            draft, name = _addressed(drafts, text, option, example)
            _add(draft, PLURALS[option], name)
    return _checked(EditRequest, {"removals": drafts, **fields}, "The request", "See expunge edit --help.")


def _for_all(wishes: Wishes) -> dict[str, Any]:
    return {
        "preserve": list(wishes.preserve),
        "exclude": list(wishes.exclude),
        "spellings": [] if wishes.no_spellings else "auto",
    }


def _add(draft: dict[str, Any], field: str, name: str) -> None:
    """Add a name to a list of names; given spellings take the place of made ones."""
    if field == "translations":
        tag, _, translation = name.partition(":")
        draft[field].setdefault(tag, []).append(translation)
    else:
        draft[field] = [*([] if draft[field] == "auto" else draft[field]), name]


def _addressed(drafts: Sequence[dict[str, Any]], text: str, option: str, example: str) -> tuple[dict[str, Any], str]:
    """The removal that `CONCEPT=NAME` is about, and the name."""
    concept, _, name = (part.strip() for part in text.partition("="))
    wanted = concept.casefold()
    for draft in drafts:
        if name and wanted in (draft["concept"].casefold(), f"{draft['kind']}:{draft['concept']}".casefold()):
            return draft, name
    raise UsageError(
        f'--{option} "{text}" belongs to no removal.',
        field=PLURALS[option],
        remedy=f'Write CONCEPT=NAME with a concept that is removed, as in --{option} "{example}".',
    )


def _checked(model: type[Model], fields: Mapping[str, Any], subject: str, remedy: str) -> Model:
    try:
        return model(**fields)
    except ValidationError as error:
        first = invalid_fields(error.errors())[0]
        where = f"{first.field}: " if first.field else ""
        raise UsageError(f"{subject}: {where}{first.message}.", field=first.field, remedy=remedy) from error
