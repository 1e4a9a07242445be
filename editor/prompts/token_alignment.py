"""Align the tokens of a concept's prompt with those of its destination's, from which they take their values.

Tokens are paired by role: words after the subject with the same words after the destination, EOS with EOS, padding with
padding at the same position. Public implementations pair by distance from the subject and repeat the last position, which
misaligns prompts whose subjects differ in length.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Role = Literal["leading_subject", "subject", "trailing", "eos", "padding"]


@dataclass(frozen=True)
class RoleWeights:
    """Total weight of each role in a prompt, so that padding cannot outvote the subject. A role of weight 0 is left out."""

    subject: float = 1.0
    """The last token of the subject, the first one to attend to all of it."""
    trailing: float = 1.0
    eos: float = 1.0
    padding: float = 1.0
    leading_subject: float = 0.0
    """The subject's earlier tokens, which other concepts share (``hot`` in ``hot dog``)."""
    max_padding_positions: int | None = None
    """Sample at most this many padding positions at even distances: their keys change slowly. None uses all of them."""


DEFAULT_ROLE_WEIGHTS = RoleWeights()


@dataclass(frozen=True)
class TokenizedPrompt:
    """A prompt as the pipeline encodes it."""

    text: str
    ids: Tensor
    """(length,), padded to the context."""
    eos: int
    """Position of the first EOS."""


@dataclass(frozen=True)
class PromptPair:
    """A prompt that names the concept, and the prompt that it is mapped to."""

    concept: TokenizedPrompt
    destination: TokenizedPrompt
    first_subject: int
    """Position of the concept's first token in its prompt."""
    last_subject: int
    """Position of its last token."""
    weight: float = 1.0
    """Weight of the prompt: the prompts with one name share the weight of the name."""


@dataclass(frozen=True)
class AlignedToken:
    """A position in the concept's prompt, and the position in the destination's prompt that its value comes from."""

    key: int
    value: int
    role: Role
    weight: float


def common_suffix(left: list[int], right: list[int]) -> int:
    """Return the length of the common suffix of two lists."""
    pairs = zip(reversed(left), reversed(right), strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))


def align_tokens(pair: PromptPair, roles: RoleWeights = DEFAULT_ROLE_WEIGHTS) -> list[AlignedToken]:
    """Return the aligned tokens of a pair. The weight of a role is shared evenly by its positions."""
    return [
        AlignedToken(key, value, role, weight / len(positions))
        for role, positions in positions_by_role(pair, roles.max_padding_positions).items()
        for key, value in positions
        if (weight := getattr(roles, role))
    ]


def positions_by_role(pair: PromptPair, max_padding_positions: int | None = None) -> dict[Role, list[tuple[int, int]]]:
    """Return the aligned (concept, destination) positions of each role.

    A token without a counterpart (a word after a subject that became the null concept) is aligned with the destination's EOS.
    """
    end, target_end = pair.concept.eos, pair.destination.eos
    words = pair.concept.ids[pair.last_subject + 1 : end].tolist()
    shared = common_suffix(words, pair.destination.ids[1:target_end].tolist())
    before = target_end - len(words) - 1
    subject = before if shared == len(words) and before > 0 else target_end
    padding = range(max(end, target_end) + 1, len(pair.concept.ids))
    step = max(1, -(-len(padding) // max_padding_positions)) if max_padding_positions else 1
    return {
        "leading_subject": list(leading_subject_positions(pair, subject)),
        "subject": [(pair.last_subject, subject)],
        "trailing": [
            (i, target_end - (end - i) if end - i <= shared else target_end) for i in range(pair.last_subject + 1, end)
        ],
        "eos": [(end, target_end)],
        "padding": [(i, i) for i in padding[::step]],
    }


def leading_subject_positions(pair: PromptPair, last: int) -> Iterator[tuple[int, int]]:
    """Spread the subject's earlier tokens over the destination's, whose last token is at ``last``.

    The text before the subject is equally long in both prompts, so both subjects start at the same position. All tokens are
    aligned with a destination of one token, or with EOS for the null concept.
    """
    first, count = pair.first_subject, pair.last_subject - pair.first_subject
    start = min(first, last)
    for i in range(count):
        yield first + i, start + round(i * (last - start) / count) if last < pair.destination.eos else last
