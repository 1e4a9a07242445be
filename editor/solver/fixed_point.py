"""Normal-equation statistics in fixed point, so that a sum does not depend on the order of its terms.

Floating-point addition depends on the order, and a term that was added cannot be subtracted without a rounding error.
Statistics that are rounded once to whole multiples of a step add up as integers: any order gives the same bits, subtracting
a removal gives the bits of never having added it, and a ledger of any length is two matrices. The step is 2^-34 of the mean
square of the encoder's null-prompt keys, rounded down to a power of two: the rounding error is 3e-11 of that mean square,
against a ridge of 1e-6, and 64 bits have room for 2^29 of it.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from editor.errors import SolveError
from editor.solver.least_squares import Statistics

PRECISION_BITS = 34
"""Bits of the fixed-point fraction, relative to the mean square of the keys."""
MAX_EXACT_INTEGER = 2.0**53
"""Integers up to this one are exact in float64."""


@dataclass(frozen=True)
class FixedPointStatistics:
    """Statistics as integer multiples of a quantization step."""

    step: float
    moment: Tensor
    """(d, d), int64."""
    target: Tensor
    """(o, d), int64."""
    row_count: int
    """Number of regression rows that were summed."""

    @classmethod
    def zeros(cls, shape: tuple[int, int], step: float) -> "FixedPointStatistics":
        """Return the statistics of no removals for a target of shape (o, d)."""
        width = shape[1]
        return cls(step, torch.zeros(width, width, dtype=torch.long), torch.zeros(shape, dtype=torch.long), 0)

    @property
    def target_shape(self) -> tuple[int, int]:
        """Dimensions of the residuals and of the keys, (o, d)."""
        return self.target.shape[0], self.target.shape[1]

    def add_and_subtract(
        self, added: Iterable["FixedPointStatistics"], subtracted: Iterable["FixedPointStatistics"]
    ) -> "FixedPointStatistics":
        """Return the sum with some terms added and others subtracted."""
        moment, target, row_count = self.moment.clone(), self.target.clone(), self.row_count
        for sign, terms in ((1, added), (-1, subtracted)):
            for term in terms:
                moment.add_(term.moment, alpha=sign)
                target.add_(term.target, alpha=sign)
                row_count += sign * term.row_count
        return FixedPointStatistics(self.step, moment, target, row_count)

    def to_float64(self) -> Statistics:
        """Convert to float64."""
        return Statistics(self.moment.double() * self.step, self.target.double() * self.step)


def quantization_step(null_keys: Tensor) -> float:
    """Return the quantization step of an encoder, from the keys of its null prompt, (n, d)."""
    return float(2.0 ** (math.floor(math.log2(float(null_keys.square().mean()))) - PRECISION_BITS))


def quantize(statistics: Statistics, step: float, row_count: int) -> FixedPointStatistics:
    """Round statistics to integer multiples of ``step``.

    Raises:
        SolveError: an entry is too large to be exact.
    """
    moment, target = statistics.moment * (1 / step), statistics.target * (1 / step)
    if torch.stack([*torch.aminmax(moment), *torch.aminmax(target)]).abs().max() >= MAX_EXACT_INTEGER:
        raise SolveError(
            "The keys of a removal are too large for exact sums.",
            remedy="Split the removal, or check that the model's weights are intact.",
        )
    return FixedPointStatistics(step, moment.round_().long(), target.round_().long(), row_count)
