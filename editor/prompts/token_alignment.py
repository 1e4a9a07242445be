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
    subject, trailing = align_words(
        pair.concept.ids[pair.last_subject + 1 : end].tolist(), pair.destination.ids[:target_end].tolist()
    )
    padding = range(max(end, target_end) + 1, len(pair.concept.ids))
    step = max(1, -(-len(padding) // max_padding_positions)) if max_padding_positions else 1
    return {
        "leading_subject": list(leading_subject_positions(pair, subject)),
        "subject": [(pair.last_subject, subject)],
        "trailing": list(enumerate(trailing, pair.last_subject + 1)),
        "eos": [(end, target_end)],
        "padding": [(i, i) for i in padding[::step]],
    }


def align_words(words: list[int], destination: list[int]) -> tuple[int, list[int]]:
    """Return the position of the destination's last subject token, and those of the words after the subject.

    Words between the longest common suffix and the longest common beginning are another substitution: they are aligned from
    their last token backwards. Words without a counterpart, and a subject without one, are aligned with EOS.

    Args:
        words: tokens after the concept's last one, without EOS.
        destination: tokens of the destination's prompt from BOS on, without EOS.
    """
    eos = len(destination)
    shared = common_suffix(words, destination[1:])
    rest, end = words[: len(words) - shared], eos - shared
    suffix = list(range(end, eos))
    if not rest:
        return (end - 1 if end > 1 else eos), suffix
    start, length = find_beginning(rest, destination[:end])
    if not length:
        return eos, [eos] * len(rest) + suffix
    changed, first = len(rest) - length, start + length
    middle = [max(end - changed + i, first) if first < end else eos for i in range(changed)]
    return start - 1, [*range(start, first), *middle, *suffix]


def find_beginning(words: list[int], destination: list[int]) -> tuple[int, int]:
    """Return the start and the length of the longest beginning of ``words`` in ``destination``, after a subject."""
    for length in range(len(words), 0, -1):
        for start in range(len(destination) - length, 1, -1):
            if destination[start : start + length] == words[:length]:
                return start, length
    return 0, 0


def leading_subject_positions(pair: PromptPair, last: int) -> Iterator[tuple[int, int]]:
    """Spread the subject's earlier tokens over the destination's, whose last token is at ``last``.

    The text before the subject is equally long in both prompts, so both subjects start at the same position. All tokens are
    aligned with a destination of one token, or with EOS for the null concept.
    """
    first, count = pair.first_subject, pair.last_subject - pair.first_subject
    start = min(first, last)
    for i in range(count):
        yield first + i, start + round(i * (last - start) / count) if last < pair.destination.eos else last
