import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from editor.errors import SolveError
from editor.solver.fixed_point import FixedPointStatistics, quantization_step, quantize
from editor.solver.least_squares import Statistics

WIDTH = 6


def statistics(seed: int) -> Statistics:
    """Statistics of very different magnitudes, whose floating-point sum would depend on the order."""
    generator = torch.Generator().manual_seed(seed)
    sizes = 10.0 ** torch.randint(-3, 5, (2, WIDTH, WIDTH), generator=generator)
    moment, target = torch.randn(2, WIDTH, WIDTH, dtype=torch.float64, generator=generator) * sizes
    return Statistics(moment, target)


def sum_of(parts: list[FixedPointStatistics], step: float) -> FixedPointStatistics:
    return FixedPointStatistics.zeros((WIDTH, WIDTH), step).add_and_subtract(parts, ())


def identical(left: FixedPointStatistics, right: FixedPointStatistics) -> bool:
    return (
        torch.equal(left.moment, right.moment)
        and torch.equal(left.target, right.target)
        and left.row_count == right.row_count
    )


@settings(max_examples=50, deadline=None)
@given(seeds=st.lists(st.integers(0, 99), min_size=1, max_size=12, unique=True), shuffle=st.randoms())
def test_sum_does_not_depend_on_order_or_on_terms_added_and_subtracted(
    seeds: list[int], shuffle: random.Random
) -> None:
    step = quantization_step(torch.ones(3, WIDTH, dtype=torch.float64))
    parts = {seed: quantize(statistics(seed), step, seed) for seed in seeds}
    straight = sum_of(list(parts.values()), step)
    shuffled = list(parts)
    shuffle.shuffle(shuffled)
    other_way = sum_of([parts[seed] for seed in shuffled], step)
    for seed in shuffled:
        other_way = other_way.add_and_subtract([quantize(statistics(100 + seed), step, 1)], ())
    for seed in seeds:
        other_way = other_way.add_and_subtract((), [quantize(statistics(100 + seed), step, 1)])
    assert identical(straight, other_way)


def test_rounding_error_is_below_the_ridge() -> None:
    keys = torch.randn(50, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    exact = Statistics(keys.T @ keys, keys.T @ keys)
    rounded = quantize(exact, quantization_step(keys), 50).to_float64()
    assert float((rounded.moment - exact.moment).abs().max()) < 1e-10 * float(exact.moment.trace()) / WIDTH


def test_quantization_step_is_a_power_of_two_that_scales_with_the_keys() -> None:
    keys = torch.ones(3, WIDTH, dtype=torch.float64)
    assert quantization_step(keys) == 2.0**-34
    assert quantization_step(4 * keys) == 2.0**-30


def test_entries_too_large_to_be_exact_are_rejected() -> None:
    huge = torch.full((WIDTH, WIDTH), 1e30, dtype=torch.float64)
    with pytest.raises(SolveError, match="too large"):
        quantize(Statistics(huge, huge), 2.0**-34, 1)
