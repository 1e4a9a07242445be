"""Conflicts that the tokenizer sees: names that end in the same token.

A key of the first layer is mostly its own token, so removing “mickey mouse” is felt by “mouse”. Preservation keys resolve
it as far as they reach; the conflict says where to look.
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
from editor.prompts.concepts import Concept

SHORTEST = 3
"""Letters of a token that is worth a warning: shorter ones end unrelated words."""


@dataclass(frozen=True)
class Sharing:
    """All that end in one token."""

    removed: list[NameReference]
    kept: list[NameReference]


def find_conflicts(removals: Sequence[LabelledRemoval], tokenizer: Any) -> list[Conflict]:
    """All conflicts among removals, errors first; their order does not matter. Time grows with their number alone.

    Args:
        removals: what is active, and what shall be, each with its label.
        tokenizer: the edited encoder's.
    """
    return sort_conflicts(chain(find_name_conflicts(removals), shared_tokens(removals, tokenizer)))


def shared_tokens(removals: Sequence[LabelledRemoval], tokenizer: Any) -> Iterator[Conflict]:
    """One warning for each kept name, and one between neighbours among the removed: never one for every pair."""
    ordered = sorted(removals, key=lambda removal: removal.label)
    removed = [named for removal in ordered for named in removed_names(removal)]
    kept = [named for removal in ordered for named in chain(replacement_names(removal), preserved_names(removal))]
    for token, sharing in by_last_token(removed, kept, tokenizer).items():
        text = tokenizer.convert_ids_to_tokens(token).removesuffix("</w>")
        if len(text) >= SHORTEST:
            yield from (shared_token(left, right, text) for left, right in neighbours(sharing))


def by_last_token(
    removed: Sequence[NameReference], kept: Sequence[NameReference], tokenizer: Any
) -> dict[int, Sharing]:
    """Who ends in which token."""
    sharing: dict[int, Sharing] = defaultdict(lambda: Sharing([], []))
    endings = last_tokens([last_word(named) for named in (*removed, *kept)], tokenizer)
    for named, token in zip(removed, endings, strict=False):
        sharing[token].removed.append(named)
    for named, token in zip(kept, endings[len(removed) :], strict=True):
        sharing[token].kept.append(named)
    return sharing


def last_word(named: NameReference) -> str:
    """The last word of what is keyed: byte pairs never reach across words."""
    return Concept(named.text, named.owner.removal.kind).subject.rpartition(" ")[2]


def last_tokens(words: Sequence[str], tokenizer: Any) -> list[int]:
    """The token before EOS of each word."""
    unique = list(dict.fromkeys(words))
    found = tokenizer(unique, return_attention_mask=False, verbose=False)["input_ids"] if unique else []
    last = {word: ids[-2] for word, ids in zip(unique, found, strict=True)}
    return [last[word] for word in words]


def neighbours(sharing: Sharing) -> Iterator[tuple[NameReference, NameReference]]:
    """Pairs that lead to different places and are not the very same name, which is another conflict."""
    kept = ((sharing.removed[0], other) for other in sharing.kept if sharing.removed)
    removed = (
        (left, right)
        for left, right in pairwise(sharing.removed)
        if left.owner.label != right.owner.label and left.owner.destination != right.owner.destination
    )
    return (pair for pair in chain(kept, removed) if normalize_words(pair[0].text) != normalize_words(pair[1].text))


def shared_token(left: NameReference, right: NameReference, token: str) -> Conflict:
    """Their keys in the first layer are mostly the same."""
    return interference_warning(
        "shared_token", left, right, f"{left.party} and {right.party} end in the same token, {token!r}"
    )
