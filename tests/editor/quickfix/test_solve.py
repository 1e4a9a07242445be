"""The solution is judged by the problem it claims to solve, never by the formula it came from."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from editor.errors import SolveError
from editor.quickfix.solve import Statistics, free_basis, solve, statistics


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def problem(seed: int, n: int, d: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    keys, residuals = random(n, d, seed=seed), random(n, d, seed=seed + 1)
    weights = random(n, seed=seed + 2).abs() + 0.1
    half = random(d + 3, d, seed=seed + 3)
    return keys, residuals, weights, half.T @ half


def objective(
    delta: Tensor, keys: Tensor, residuals: Tensor, weights: Tensor, preserved: Tensor, ridge: float
) -> Tensor:
    fit = ((keys @ delta.T - residuals).square().sum(1) * weights).sum()
    return fit + torch.trace(delta @ preserved @ delta.T) + ridge * delta.square().sum()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 30), d=st.integers(2, 12), m=st.integers(0, 3))
def test_minimises_the_objective_among_updates_that_spare_the_protected(seed: int, n: int, d: int, m: int) -> None:
    keys, residuals, weights, preserved = problem(seed, n, d)
    basis = free_basis(random(min(m, d - 1), d, seed=seed + 4))
    delta = solve(statistics(keys, residuals, weights), preserved, basis, 0.01).delta.requires_grad_()
    objective(delta, keys, residuals, weights, preserved, 0.01).backward()
    assert delta.grad is not None
    allowed = delta.grad @ basis
    scale = max(1.0, float((residuals.T @ (keys * weights[:, None])).abs().max()))
    assert float(allowed.abs().max()) < 1e-9 * scale


def test_protected_keys_do_not_move() -> None:
    keys, residuals, weights, preserved = problem(0, 20, 16)
    protected = random(5, 16, seed=9)
    delta = solve(statistics(keys, residuals, weights), preserved, free_basis(protected), 1e-3).delta
    assert float((protected @ delta.T).abs().max()) < 1e-10
    assert float(delta.abs().max()) > 1e-3


def test_removals_commute() -> None:
    first, second = (statistics(*problem(seed, 7, 10)[:3]) for seed in (1, 2))
    torch.testing.assert_close((first + second).moment, (second + first).moment, rtol=0, atol=0)
    torch.testing.assert_close((first + second).target, (second + first).target, rtol=0, atol=0)


def test_more_preservation_moves_less() -> None:
    keys, residuals, weights, preserved = problem(3, 10, 10)
    removal, basis = statistics(keys, residuals, weights), torch.eye(10, dtype=torch.float64)
    norms = [float(solve(removal, w * preserved, basis, 1e-6).delta.norm()) for w in (0.1, 1, 10, 100)]
    assert norms == sorted(norms, reverse=True)


def test_a_system_without_ridge_or_rank_is_refused() -> None:
    empty = torch.zeros(4, 4, dtype=torch.float64)
    with pytest.raises(SolveError, match="positive definite"):
        solve(Statistics(empty, empty), empty, torch.eye(4, dtype=torch.float64), 0.0)


def test_protecting_everything_is_refused() -> None:
    with pytest.raises(SolveError, match="no direction"):
        free_basis(torch.eye(4, dtype=torch.float64))
