"""Which token of the concept's prompt takes its value from which token of the destination's.

Tokens pair by role: words after the subject with the same words after the destination, EOS with EOS, padding with the
padding at the same place. Public implementations pair by distance from the subject instead and pad with the last position,
which misaligns prompts whose subjects differ in length.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Role = Literal["leading_subject", "subject", "trailing", "eos", "padding"]


@dataclass(frozen=True)
class Roles:
    """What each role of a prompt weighs in sum, so that padding can't outvote the subject; 0 leaves the role out."""

    subject: float = 1.0
    """The last token of the subject: the first that knows all of it."""
    trailing: float = 1.0
    eos: float = 1.0
    padding: float = 1.0
    leading_subject: float = 0.0
    """The subject's earlier tokens. They are other concepts' tokens as well (``hot`` of ``hot dog``)."""
    padding_columns: int | None = None
    """At most this many padding positions, evenly spread, stand for all of them; they change slowly from one to the next."""


DEFAULT_ROLES = Roles()


@dataclass(frozen=True)
class Tokenised:
    """A prompt as the pipeline encodes it."""

    text: str
    ids: Tensor
    """(length,), padded to the context."""
    eos: int
    """Position of the first EOS."""


@dataclass(frozen=True)
class Pair:
    """A prompt that names the concept, and the same prompt as it shall be understood."""

    concept: Tokenised
    destination: Tokenised
    first_subject: int
    """Position of the concept's first token in its prompt."""
    last_subject: int
    """Position of its last."""
    weight: float = 1.0
    """What the prompt counts; the prompts about one name share what the name counts beside the concept's own."""


@dataclass(frozen=True)
class Column:
    """One key position of the concept's prompt and the position its value comes from."""

    key: int
    value: int
    role: Role
    weight: float


def common_suffix(left: list[int], right: list[int]) -> int:
    """How many items two lists share at their ends."""
    pairs = zip(reversed(left), reversed(right), strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))


def aligned_columns(pair: Pair, roles: Roles = DEFAULT_ROLES) -> list[Column]:
    """Columns of one pair; a role's weight is shared evenly by its positions."""
    return [
        Column(key, value, role, weight / len(places))
        for role, places in aligned_places(pair, roles.padding_columns).items()
        for key, value in places
        if (weight := getattr(roles, role))
    ]


def aligned_places(pair: Pair, padding_columns: int | None = None) -> dict[Role, list[tuple[int, int]]]:
    """Each role's positions in the concept's prompt with those that their values come from.

    What has no counterpart (a word after a subject that became the null concept) takes the value of the destination's EOS.
    """
    end, target_end = pair.concept.eos, pair.destination.eos
    words = pair.concept.ids[pair.last_subject + 1 : end].tolist()
    shared = common_suffix(words, pair.destination.ids[1:target_end].tolist())
    before = target_end - len(words) - 1
    subject = before if shared == len(words) and before > 0 else target_end
    padding = range(max(end, target_end) + 1, len(pair.concept.ids))
    step = max(1, -(-len(padding) // padding_columns)) if padding_columns else 1
    return {
        "leading_subject": list(leading_places(pair, subject)),
        "subject": [(pair.last_subject, subject)],
        "trailing": [
            (i, target_end - (end - i) if end - i <= shared else target_end) for i in range(pair.last_subject + 1, end)
        ],
        "eos": [(end, target_end)],
        "padding": [(i, i) for i in padding[::step]],
    }


def leading_places(pair: Pair, last: int) -> Iterator[tuple[int, int]]:
    """The subject's earlier tokens spread over the destination's, whose last is at ``last``.

    What stands before the subject is as long in both prompts, so both subjects start at the same position; a destination
    that ends there has one token for all, and the null concept has EOS.
    """
    first, count = pair.first_subject, pair.last_subject - pair.first_subject
    start = min(first, last)
    for i in range(count):
        yield first + i, start + round(i * (last - start) / count) if last < pair.destination.eos else last
