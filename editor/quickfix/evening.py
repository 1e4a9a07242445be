"""Removals that lag behind count more in a second solve, so that each goes and not only most.

Of many concepts at once some share more with what is kept, and the least-squares optimum leaves most of those. Solved again
with more weight on them, the worst is far less left at the same drift.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from editor.prompts import Removal

MOST = 8.0
"""As often as one may count."""

Stress = Mapping[Removal, float]
"""What removals count that count more than once."""


def stress_of(removals: Sequence[Removal], left: Tensor) -> Stress:
    """More for those of which more than the mean share is ``left``, (removals,): as its square."""
    times = (left / left.mean()).square().clamp(1.0, MOST)
    return {removal: count for removal, count in zip(removals, times.tolist(), strict=True) if count > 1}
