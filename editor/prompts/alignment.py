"""Which token of the concept's prompt takes its value from which token of the destination's.

Tokens pair by role: words after the subject with the same words after the destination, EOS with EOS, padding with the
padding at the same place. Public implementations pair by distance from the subject instead and pad with the last position,
which misaligns prompts whose subjects differ in length.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Role = Literal["subject", "trailing", "eos", "padding"]


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
    last_subject: int
    """Position of the concept's last token in its prompt."""


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


def aligned_columns(pair: Pair) -> list[Column]:
    """Columns from the last subject token on; each role of a prompt weighs 1 in sum, so padding can't outvote the subject.

    What has no counterpart (a word after a subject that became the null concept) takes the value of the destination's EOS.
    """
    source, target = pair.concept, pair.destination
    words = range(pair.last_subject + 1, source.eos)
    shared = common_suffix([int(source.ids[i]) for i in words], target.ids[1 : target.eos].tolist())
    before = target.eos - len(words) - 1
    subject = before if shared == len(words) and before > 0 else target.eos
    columns = [Column(pair.last_subject, subject, "subject", 1.0)]
    for i in words:
        value = target.eos - (source.eos - i) if source.eos - i <= shared else target.eos
        columns.append(Column(i, value, "trailing", 1.0 / len(words)))
    columns.append(Column(source.eos, target.eos, "eos", 1.0))
    padding = range(max(source.eos, target.eos) + 1, len(source.ids))
    return columns + [Column(i, i, "padding", 1.0 / len(padding)) for i in padding]
