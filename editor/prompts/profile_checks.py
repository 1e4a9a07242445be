"""Find mistakes in a profile that its schema cannot see: they would weaken an edit or its validation without an error."""

from collections.abc import Iterator, Sequence
from itertools import chain

from api_schemas.conflicts import Words, normalize_words, subsequences
from editor.prompts.concepts import ConceptKind, Phrase, strip_style, without_article
from editor.prompts.profile import Profile
from editor.prompts.spelling_variants import other_number
from editor.prompts.tokenizer_cache import TokenizerCache

MAX_NAME_TOKENS = 6
"""Tokens of a name. Names are seen often enough in training to be drawn if they are short."""
MAX_SURROUNDING_TOKENS = 48
"""Tokens of a prefix: name, wording and suffix must fit after it."""
NAMED_KINDS: tuple[ConceptKind, ...] = ("object", "style", "person", "character", "brand")


def find_profile_problems(profile: Profile, tokenizer: TokenizerCache) -> list[str]:
    """Return every problem of a profile as a sentence; empty if there is none.

    Args:
        tokenizer: CLIP's tokenizer, or that of the model whose profile this is.
    """
    return list(
        chain(
            name_problems(profile, tokenizer),
            shared_name_problems(profile),
            template_problems(profile),
            length_problems(profile, tokenizer),
        )
    )


def name_problems(profile: Profile, tokenizer: TokenizerCache) -> Iterator[str]:
    """Yield problems of single names."""
    for kind in NAMED_KINDS:
        names = profile.names_of(kind)
        for name, encoded in zip(names, tokenizer.encode(names), strict=True):
            if name != " ".join(name.split()) or not name:
                yield f"{kind} {name!r}: remove spaces at its ends and double spaces."
            if kind == "object" and without_article(name) != name:
                yield f"{kind} {name!r}: leave out the article, which wordings add."
            if (tokens := len(encoded.ids) - 2) > MAX_NAME_TOKENS:
                yield f"{kind} {name!r}: {tokens} tokens; at most {MAX_NAME_TOKENS} are useful."
    if profile.default_style and profile.default_style not in profile.styles:
        yield f"default_style {profile.default_style!r}: not among styles."
    for style in (*profile.style_replacements, *profile.style_replacements.values()):
        if style not in profile.styles:
            yield f"style_replacements: {style!r} is not among styles."
    yield from (f"objects {group!r}: the group is empty." for group, names in profile.objects.items() if not names)


def shared_name_problems(profile: Profile) -> Iterator[str]:
    """Yield names that occur twice, in singular and plural, or as an object and a style."""
    for kind in NAMED_KINDS:
        known: dict[str, str] = {}
        for name in profile.names_of(kind):
            if (word := name.casefold()) in known:
                yield f"{kind} {name!r}: listed twice."
            elif other := next((known[form] for form in other_number(word) if form in known), None):
                yield f"{kind} {name!r}: {other!r} is listed, too, and is its singular or plural."
            known[word] = name
    objects = {*map(str.casefold, profile.object_names)}
    yield from (f"style {style!r}: also an object." for style in profile.styles if style.casefold() in objects)
    parents = {parent.casefold() for parent in profile.parents.values()}
    yield from (f"object {name!r}: also a parent class." for name in sorted(objects & parents))


def template_problems(profile: Profile) -> Iterator[str]:
    """Yield names that are words of templates, and held-out wordings that equal another one but for article or style."""
    objects_and_styles = {normalize_words(name): name for name in (*profile.object_names, *profile.styles)}
    for template in templates(profile):
        words = normalize_words(Phrase(template, "").surroundings)
        for name in sorted(objects_and_styles[part] for part in subsequences(words, 4) if part in objects_and_styles):
            yield f"{template!r}: names {name!r}, so an edit that removes it cannot use this text."
    seen = {wording_words(wording) for wording in (*profile.styled_wordings, *profile.plain_wordings)}
    for wording in profile.held_out_wordings:
        if wording_words(wording) in seen:
            yield f"held_out_wordings {wording!r}: differs from a wording that edits see only by its article."


def length_problems(profile: Profile, tokenizer: TokenizerCache) -> Iterator[str]:
    """Yield prefixes and suffixes after which too few tokens are left, and negative prompts that do not fit."""
    context = int(tokenizer.tokenizer.model_max_length)
    limits: list[tuple[str, Sequence[str], int]] = [
        ("prefixes", profile.prefixes, MAX_SURROUNDING_TOKENS),
        ("suffixes", profile.suffixes, MAX_SURROUNDING_TOKENS),
        ("negative_prompts", profile.negative_prompts, context - 2),
    ]
    for field, texts, limit in limits:
        for text, encoded in zip(texts, tokenizer.encode(texts), strict=True):
            if (tokens := len(encoded.ids) - 2) > limit:
                yield f"{field} {text!r}: {tokens} tokens; at most {limit} fit."


def templates(profile: Profile) -> tuple[str, ...]:
    """Return every text of a profile that a name is put into or next to."""
    styled = tuple(strip_style(wording) for wording in (*profile.styled_wordings, *profile.held_out_wordings))
    return (*styled, *profile.plain_wordings, *profile.prefixes, *profile.suffixes)


def wording_words(wording: str) -> Words:
    """Return the words of a wording; object with and without article count as one."""
    return normalize_words(wording.replace("{a}", "OBJECT").replace("{bare}", "OBJECT").replace("{style}", "STYLE"))
