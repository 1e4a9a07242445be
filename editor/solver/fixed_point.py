"""Sums that forget their order: statistics of removals in fixed point.

Floating-point addition depends on its order, and what was added can't be taken out again without a trace. Rounded once to
whole multiples of a unit, statistics add up as integers: any order gives the same bits, subtracting a removal gives the
bits of never having added it, and a ledger of any length is two matrices. The unit is 2^-34 of the mean square of the
encoder's own null-prompt keys, a power of two: a rounding error of 3e-11 of that against a ridge of 1e-6, and room for
2^29 of it in 64 bits.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from editor.errors import SolveError
from editor.solver.least_squares import Statistics

PRECISION = 34
"""Bits below the mean square of the keys."""
LARGEST = 2.0**53
"""Whole numbers up to here are exact in float64."""


@dataclass(frozen=True)
class Sums:
    """Statistics as whole multiples of a unit."""

    unit: float
    moment: Tensor
    """(d, d), int64."""
    target: Tensor
    """(d, d), int64."""
    columns: int
    """How many went in."""

    def changed_by(self, added: Iterable["Sums"], gone: Iterable["Sums"]) -> "Sums":
        """With some more and without some."""
        moment, target, columns = self.moment.clone(), self.target.clone(), self.columns
        for sign, parts in ((1, added), (-1, gone)):
            for part in parts:
                moment.add_(part.moment, alpha=sign)
                target.add_(part.target, alpha=sign)
                columns += sign * part.columns
        return Sums(self.unit, moment, target, columns)

    @property
    def statistics(self) -> Statistics:
        """The same in float64."""
        return Statistics(self.moment.double() * self.unit, self.target.double() * self.unit)


def unit_for(keys: Tensor) -> float:
    """The unit of an encoder, from the keys of its null prompt, (n, d)."""
    return float(2.0 ** (math.floor(math.log2(float(keys.square().mean()))) - PRECISION))


def fixed(statistics: Statistics, unit: float, columns: int) -> Sums:
    """Round to whole units.

    Raises:
        SolveError: an entry is too large to be exact.
    """
    moment, target = statistics.moment * (1 / unit), statistics.target * (1 / unit)
    if torch.stack([*torch.aminmax(moment), *torch.aminmax(target)]).abs().max() >= LARGEST:
        raise SolveError(
            "A removal's keys are too large for exact sums.", remedy="Split the removal, or check the model."
        )
    return Sums(unit, moment.round_().long(), target.round_().long(), columns)


def nothing(width: int, unit: float) -> Sums:
    """The sum of no removals."""
    empty = torch.zeros(width, width, dtype=torch.long)
    return Sums(unit, empty, empty, 0)
