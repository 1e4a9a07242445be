"""Parse the removals of a command line into a request."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from api_schemas.edits import EditRequest, Removal
from api_schemas.errors import UsageError
from api_schemas.problems import invalid_fields

Model = TypeVar("Model", bound=BaseModel)

SYNTAX = (
    'Write CONCEPT[=REPLACEMENT], as in "fox=dog face"; "fox" alone lets the editor choose a replacement, "fox=" maps it to '
    'the null concept. "style:ink=noto" removes a style, "person:NAME" a person.'
)
STYLE_PHRASE = re.compile(r"(?:in )?(?:the )?style of (?P<after>.+)|(?P<before>.+) style", re.IGNORECASE)
"""How people name a style without its prefix."""
PLURALS = {"alias": "aliases", "title": "titles", "translation": "translations", "spelling": "spellings"}
EXAMPLES = {
    "alias": "fox=vixen",
    "title": "van gogh=starry night",
    "translation": "fox=fr:renard",
    "spelling": "fox=foxx",
}
KINDS: tuple[str, ...] = get_args(Removal.model_fields["kind"].annotation)


def parse_removal(text: str) -> Removal:
    """Parse `fox`, `fox=dog face`, `fox=` or `style:ink=noto`; the kind may be in any case. Raises `UsageError`."""
    name, equals, replacement = text.partition("=")
    prefix, colon, rest = name.partition(":")
    kind = prefix.strip().casefold()
    has_kind = bool(colon) and kind in KINDS
    concept = rest if has_kind else name
    refuse_list(text, f"{kind}:" if has_kind else "", concept, replacement)
    if not has_kind:
        refuse_unknown_kind(text, prefix, rest)
        refuse_style_phrase(text, concept)
    if equals:
        refuse_malformed_replacement(text, replacement)
    fields = {"kind": kind if has_kind else "object", "concept": concept}
    named = {"replacement": replacement.strip() or None} if equals else {}
    return validate(Removal, fields | named, f'--remove "{text}"', SYNTAX)


def refuse_list(text: str, kind: str, concept: str, replacement: str) -> None:
    """Raise `UsageError` for several removals in one argument, as in "fox, frog=dog face"."""
    has_several_replacements = "," in replacement and "=" in replacement
    if "," not in concept and not has_several_replacements:
        return
    after = f"={replacement.strip()}" if replacement.strip() else ""
    names = f"{concept}{after}".split(",") if has_several_replacements else concept.split(",")
    suffix = "" if has_several_replacements else after
    each = [f"{name.strip()}{suffix}" for name in names if name.strip()]
    quoted = " ".join(f'--remove "{one if ":" in one else kind + one}"' for one in each)
    raise UsageError(
        f'--remove "{text}" would remove one concept whose name has a comma.',
        field="removals",
        remedy=f"Write each removal separately: {quoted}. A name with a comma can be sent to the API only.",
    )


def refuse_unknown_kind(text: str, prefix: str, rest: str) -> None:
    """Raise `UsageError` for a prefix that is not a kind, as in "artist:van gogh"."""
    if rest:
        after = text.partition(":")[2].strip()
        raise UsageError(
            f'--remove "{text}": "{prefix}" is not a kind of concept.',
            field="removals",
            remedy=f'The kinds are {", ".join(KINDS)}: write "style:{after}" or "object:{after}". '
            f'For an object whose name has a colon, write "object:{text}".',
        )


def refuse_malformed_replacement(text: str, replacement: str) -> None:
    """Raise `UsageError` for a replacement that contains "=", as in "fox==dog face"."""
    if "=" in replacement:
        raise UsageError(
            f'--remove "{text}" has more than one "=".',
            field="replacement",
            remedy=f"Separate the concept from its replacement with one equals sign. {SYNTAX}",
        )


def refuse_style_phrase(text: str, concept: str) -> None:
    """Raise `UsageError` where a style is named like an object, as in "van gogh style"."""
    if found := STYLE_PHRASE.fullmatch(concept.strip()):
        style = found["after"] or found["before"]
        raise UsageError(
            f'--remove "{text}" would remove an object called "{concept}".',
            field="removals",
            remedy=f'To remove the style, write "style:{text.replace(concept, style)}"; for the object, "object:{text}".',
        )


@dataclass(frozen=True)
class RemovalOptions:
    """The options of a command line that apply to its removals. Each pair is `CONCEPT=NAME`."""

    preserve: Sequence[str] = ()
    """Applies to every removal."""
    exclude: Sequence[str] = ()
    """Applies to every removal."""
    exclude_prompts: Sequence[str] = ()
    """Applies to every removal."""
    aliases: Sequence[str] = ()
    titles: Sequence[str] = ()
    translations: Sequence[str] = ()
    """Written `CONCEPT=TAG:NAME`."""
    spellings: Sequence[str] = ()
    no_spellings: bool = False


def build_request(removals: Sequence[str], shared: RemovalOptions = RemovalOptions(), **fields: Any) -> EditRequest:
    """Build the request that a command line describes. Raises `UsageError`, naming the field."""
    drafts = [parse_removal(text).model_dump() | shared_fields(shared) for text in removals]
    for option, example in EXAMPLES.items():
        for text in getattr(shared, PLURALS[option]):
            draft, name = find_removal(drafts, text, option, example)
            add_name(draft, PLURALS[option], name)
    return validate(EditRequest, {"removals": drafts, **fields}, "The request", "See expunge edit --help.")


def shared_fields(options: RemovalOptions) -> dict[str, Any]:
    """Return the fields that every removal gets."""
    return {
        "preserve": list(options.preserve),
        "exclude": list(options.exclude),
        "exclude_prompts": list(options.exclude_prompts),
        "spellings": [] if options.no_spellings else "auto",
    }


def add_name(draft: dict[str, Any], field: str, name: str) -> None:
    """Add a name to a field; a spelling replaces the generated ones."""
    if field == "translations":
        tag, _, translation = name.partition(":")
        draft[field].setdefault(tag, []).append(translation)
    else:
        draft[field] = [*([] if draft[field] == "auto" else draft[field]), name]


def find_removal(drafts: Sequence[dict[str, Any]], text: str, option: str, example: str) -> tuple[dict[str, Any], str]:
    """Return the removal that `CONCEPT=NAME` belongs to, and the name."""
    concept, _, name = (part.strip() for part in text.partition("="))
    wanted = concept.casefold()
    for draft in drafts:
        if name and wanted in (draft["concept"].casefold(), f"{draft['kind']}:{draft['concept']}".casefold()):
            return draft, name
    raise UsageError(
        f'--{option} "{text}" matches no removal.',
        field=PLURALS[option],
        remedy=f'Write CONCEPT=NAME, where CONCEPT is one that --remove names, as in --{option} "{example}".',
    )


def validate(model: type[Model], fields: Mapping[str, Any], subject: str, remedy: str) -> Model:
    """Return the validated model. Raises `UsageError` about its first invalid field."""
    try:
        return model(**fields)
    except ValidationError as error:
        first = invalid_fields(error.errors())[0]
        where = f"{first.field}: " if first.field else ""
        raise UsageError(f"{subject}: {where}{first.message}.", field=first.field, remedy=remedy) from error
