"""Removals that lag behind count more in a second solve, so that each goes and not only most.

Of many concepts at once some share more with what is kept, and the least-squares optimum leaves most of those. Solved again
with more weight on them, the worst is far less left at the same drift. A weight is so many quarters, for sums are integers
(:mod:`editor.quickfix.sums`): to count double is to be added twice, and equal sets of removals still give equal bytes.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from editor.prompts import Removal

QUARTERS = 4
"""Of a whole: what a removal counts that does not lag."""
MOST = 8
"""As often as one may count."""

Stress = Mapping[Removal, int]
"""Quarters of the removals that count more than once."""


def stress_of(removals: Sequence[Removal], left: Tensor) -> Stress:
    """More for those of which more than the mean share is ``left``, (removals,): as its square."""
    times = (left / left.mean()).square().clamp(1, MOST)
    quarters = zip(removals, (times * QUARTERS).round().int().tolist(), strict=True)
    return {removal: count for removal, count in quarters if count > QUARTERS}
