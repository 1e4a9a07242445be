import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from editor.errors import SolveError
from editor.solver.fixed_point import Sums, fixed, nothing, unit_for
from editor.solver.least_squares import Statistics

WIDTH = 6


def statistics(seed: int) -> Statistics:
    """Of wildly different sizes, where floating-point sums would depend on their order."""
    generator = torch.Generator().manual_seed(seed)
    sizes = 10.0 ** torch.randint(-3, 5, (2, WIDTH, WIDTH), generator=generator)
    moment, target = torch.randn(2, WIDTH, WIDTH, dtype=torch.float64, generator=generator) * sizes
    return Statistics(moment, target)


def total(parts: list[Sums], unit: float) -> Sums:
    return nothing(WIDTH, unit).changed_by(parts, ())


def same(left: Sums, right: Sums) -> bool:
    return (
        torch.equal(left.moment, right.moment)
        and torch.equal(left.target, right.target)
        and left.columns == right.columns
    )


@settings(max_examples=50, deadline=None)
@given(seeds=st.lists(st.integers(0, 99), min_size=1, max_size=12, unique=True), shuffle=st.randoms())
def test_any_order_and_any_detour_give_the_same_bits(seeds: list[int], shuffle: random.Random) -> None:
    unit = unit_for(torch.ones(3, WIDTH, dtype=torch.float64))
    parts = {seed: fixed(statistics(seed), unit, seed) for seed in seeds}
    straight = total(list(parts.values()), unit)
    shuffled = list(parts)
    shuffle.shuffle(shuffled)
    detour = total([parts[seed] for seed in shuffled], unit)
    for other in shuffled:
        detour = detour.changed_by([fixed(statistics(100 + other), unit, 1)], ())
    for other in seeds:
        detour = detour.changed_by((), [fixed(statistics(100 + other), unit, 1)])
    assert same(straight, detour)


def test_rounding_is_below_the_ridge() -> None:
    keys = torch.randn(50, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    exact = Statistics(keys.T @ keys, keys.T @ keys)
    rounded = fixed(exact, unit_for(keys), 50).statistics
    assert float((rounded.moment - exact.moment).abs().max()) < 1e-10 * float(exact.moment.trace()) / WIDTH


def test_the_unit_is_a_power_of_two_and_follows_the_keys() -> None:
    keys = torch.ones(3, WIDTH, dtype=torch.float64)
    assert unit_for(keys) == 2.0**-34
    assert unit_for(4 * keys) == 2.0**-30


def test_entries_beyond_exactness_are_refused() -> None:
    huge = torch.full((WIDTH, WIDTH), 1e30, dtype=torch.float64)
    with pytest.raises(SolveError, match="too large"):
        fixed(Statistics(huge, huge), 2.0**-34, 1)
