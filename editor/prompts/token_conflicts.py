"""Find conflicts between names that end in the same token.

A key of the first layer is dominated by its own token, so removing “mickey mouse” affects “mouse”. Retain prompts limit the
effect; the conflict is a warning to check it.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

from api_schemas.conflicts import (
    Conflict,
    LabelledRemoval,
    NameReference,
    find_name_conflicts,
    interference_warning,
    normalize_words,
    preserved_names,
    removed_names,
    replacement_names,
    sort_conflicts,
)
from api_schemas.edits import Removal
from editor.prompts.concepts import Concept, profile_class
from editor.prompts.profile import Profile

MIN_TOKEN_LETTERS = 3
"""Letters of a token that causes a warning; shorter tokens end unrelated words."""


@dataclass(frozen=True)
class NamesSharingToken:
    """The names that end in one token."""

    removed: list[NameReference]
    preserved: list[NameReference]


def label_removal(label: str, removal: Removal, profile: Profile | None, pins: tuple[str, ...] = ()) -> LabelledRemoval:
    """Return a removal with a label for messages, and with the class that a profile has for its concept."""
    known = profile_class(Concept(removal.concept, removal.kind), profile) if profile else None
    return LabelledRemoval(label, removal, pins, known)


def find_conflicts(removals: Sequence[LabelledRemoval], tokenizer: Any) -> list[Conflict]:
    """Return all conflicts among removals, errors first, in time linear in their number; their order does not matter.

    Args:
        removals: active and requested removals, each with its label.
        tokenizer: the tokenizer of the edited encoder.
    """
    return sort_conflicts(chain(find_name_conflicts(removals), shared_token_conflicts(removals, tokenizer)))


def shared_token_conflicts(removals: Sequence[LabelledRemoval], tokenizer: Any) -> Iterator[Conflict]:
    """Yield one warning for each retained name, and one for consecutive removed names instead of one for every pair."""
    ordered = sorted(removals, key=lambda removal: removal.label)
    removed = [named for removal in ordered for named in removed_names(removal)]
    preserved = [named for removal in ordered for named in chain(replacement_names(removal), preserved_names(removal))]
    for token, sharing in group_by_last_token(removed, preserved, tokenizer).items():
        text = tokenizer.convert_ids_to_tokens(token).removesuffix("</w>")
        if len(text) >= MIN_TOKEN_LETTERS:
            yield from (shared_token_conflict(left, right, text) for left, right in conflicting_pairs(sharing))


def group_by_last_token(
    removed: Sequence[NameReference], preserved: Sequence[NameReference], tokenizer: Any
) -> dict[int, NamesSharingToken]:
    """Group names by their last token."""
    sharing: dict[int, NamesSharingToken] = defaultdict(lambda: NamesSharingToken([], []))
    endings = last_tokens([last_word(named) for named in (*removed, *preserved)], tokenizer)
    for named, token in zip(removed, endings, strict=False):
        sharing[token].removed.append(named)
    for named, token in zip(preserved, endings[len(removed) :], strict=True):
        sharing[token].preserved.append(named)
    return sharing


def last_word(named: NameReference) -> str:
    """Return the last word of the subject, which contains the last token: byte pairs never cross words."""
    return Concept(named.text, named.owner.removal.kind).subject.rpartition(" ")[2]


def last_tokens(words: Sequence[str], tokenizer: Any) -> list[int]:
    """Return the token before EOS of each word."""
    unique = list(dict.fromkeys(words))
    encoded = tokenizer(unique, return_attention_mask=False, verbose=False)["input_ids"] if unique else []
    last = {word: ids[-2] for word, ids in zip(unique, encoded, strict=True)}
    return [last[word] for word in words]


def conflicting_pairs(sharing: NamesSharingToken) -> Iterator[tuple[NameReference, NameReference]]:
    """Yield pairs with different destinations. Equal names are left out: they are another kind of conflict."""
    preserved = ((sharing.removed[0], other) for other in sharing.preserved if sharing.removed)
    removed = (
        (left, right)
        for left, right in pairwise(sharing.removed)
        if left.owner.label != right.owner.label and left.owner.destination != right.owner.destination
    )
    return (
        pair for pair in chain(preserved, removed) if normalize_words(pair[0].text) != normalize_words(pair[1].text)
    )


def shared_token_conflict(left: NameReference, right: NameReference, token: str) -> Conflict:
    """Return the warning for two names whose first-layer keys are nearly the same."""
    return interference_warning(
        "shared_token", left, right, f"{left.party} and {right.party} end in the same token, {token!r}"
    )
