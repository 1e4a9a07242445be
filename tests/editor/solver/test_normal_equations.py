"""The solution is judged by the problem it claims to solve, never by the formula it came from."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from editor.errors import SolveError
from editor.solver.least_squares import cholesky
from editor.solver.normal_equations import Problem, pose, pose_sums
from editor.solver.regression import Columns, Retained, joined
from editor.solver.subspaces import beyond


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def columns(seed: int, n: int, d: int) -> Columns:
    each = torch.arange(n)
    return Columns(
        random(n, d, seed=seed), each, random(n, d, seed=seed + 1), random(n, seed=seed + 2).abs() + 0.1, each
    )


def retained(seed: int, n: int, d: int) -> Retained:
    return Retained(random(n, d, seed=seed), torch.arange(n), random(n, seed=seed + 1).abs() + 0.1, torch.arange(n))


def dense(problem: Problem, preservation: float) -> Tensor:
    """dW in the layer's own dimensions."""
    core = problem.core(preservation)
    up, down = problem.lifted(torch.eye(len(core), dtype=core.dtype), core)
    return up @ down


def objective(delta: Tensor, own: Columns, kept: Retained, preservation: float, ridge: float) -> Tensor:
    fit = ((own.keys @ delta.T - own.residuals).square().sum(1) * own.weights).sum()
    drift = ((kept.keys @ delta.T).square().sum(1) * kept.weights).sum() / len(kept.keys)
    return fit + preservation * drift + ridge * delta.square().sum()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 30), d=st.integers(40, 50), m=st.integers(1, 5))
def test_minimises_the_objective_among_updates_that_spare_the_protected(seed: int, n: int, d: int, m: int) -> None:
    own, kept, protected = columns(seed, n, d), retained(seed + 3, 4, d), random(m, d, seed=seed + 5)
    problem = pose(own, kept, beyond(protected))
    delta = dense(problem, 2.0).requires_grad_()
    assert float((protected @ delta.detach().T).abs().max()) < 1e-10
    objective(delta, own, kept, 2.0, problem.ridge).backward()
    assert delta.grad is not None
    gradient = delta.grad @ (torch.eye(d, dtype=torch.float64) - torch.linalg.pinv(protected) @ protected)
    scale = max(1.0, float(own.statistics().target.abs().max()))
    assert float(gradient.abs().max()) < 1e-8 * scale


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 20), preservation=st.sampled_from([0.25, 1.0, 64.0]))
def test_reduced_bases_and_sums_give_the_same_update(seed: int, n: int, preservation: float) -> None:
    own, kept, protected = columns(seed, n, 32), retained(seed + 3, 5, 32), random(3, 32, seed=seed + 5)
    small, large = pose(own, kept, beyond(protected)), pose_sums(own.statistics(), kept.moment, beyond(protected))
    assert small.outputs is not None
    assert small.ridge == pytest.approx(large.ridge, rel=1e-9)
    torch.testing.assert_close(dense(small, preservation), dense(large, preservation), atol=1e-7, rtol=1e-5)


def test_repeated_and_zero_keys_do_not_break_the_protection() -> None:
    own, kept, protected = columns(1, 6, 40), retained(4, 3, 40), random(4, 40, seed=6)
    twice = joined([own, own])
    none = replace(kept, keys=torch.zeros_like(kept.keys))
    delta = dense(pose(twice, none, beyond(protected)), 1.0)
    assert float((protected @ delta.T).abs().max()) < 1e-10
    assert float((own.keys @ delta.T - own.residuals).norm() / own.residuals.norm()) < 0.5


def test_more_preservation_moves_less() -> None:
    kept = retained(7, 10, 40)
    problem = pose(columns(3, 10, 40), kept, beyond(random(2, 40, seed=9)))
    drifts = [
        float((kept.keys @ dense(problem, weight).T).square().sum(1) @ kept.weights) for weight in (0.1, 1, 10, 100)
    ]
    assert drifts == sorted(drifts, reverse=True)


def test_a_system_without_ridge_or_rank_is_refused() -> None:
    with pytest.raises(SolveError, match="positive definite"):
        cholesky(torch.zeros(4, 4, dtype=torch.float64))


def test_protecting_everything_is_refused() -> None:
    with pytest.raises(SolveError, match="no direction"):
        beyond(torch.eye(4, dtype=torch.float64))


def test_removals_commute() -> None:
    first, second = (columns(seed, 5, 6).statistics() for seed in (0, 7))
    torch.testing.assert_close((first + second).moment, (second + first).moment, rtol=0, atol=0)
    torch.testing.assert_close((first + second).target, (second + first).target, rtol=0, atol=0)
