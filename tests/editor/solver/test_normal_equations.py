"""Solutions are checked against the optimisation equations, not against the formula that computes them."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from editor.errors import SolveError
from editor.solver.least_squares import cholesky
from editor.solver.normal_equations import NormalEquations
from editor.solver.regression import RegressionRows, RetainedKeys, concatenate_rows
from editor.solver.subspaces import orthogonal_complement_of


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rows(seed: int, n: int, d: int) -> RegressionRows:
    each = torch.arange(n)
    return RegressionRows(
        random(n, d, seed=seed), each, random(n, d, seed=seed + 1), random(n, seed=seed + 2).abs() + 0.1, each
    )


def retained_keys(seed: int, n: int, d: int) -> RetainedKeys:
    return RetainedKeys(random(n, d, seed=seed), torch.arange(n), random(n, seed=seed + 1).abs() + 0.1, torch.arange(n))


def with_losses(retained: RetainedKeys, seed: int) -> RetainedKeys:
    """Return the keys with something that earlier edits took from their outputs."""
    return replace(retained, residuals=random(*retained.keys.shape, seed=seed))


def dense(equations: NormalEquations, preservation: float) -> Tensor:
    """Return dW in the layer's own dimensions."""
    solution = equations.solve(preservation)
    up, down = equations.to_weight_space(torch.eye(len(solution), dtype=solution.dtype), solution)
    return up @ down


def objective(delta: Tensor, own: RegressionRows, retain: RetainedKeys, preservation: float, ridge: float) -> Tensor:
    fit = ((own.keys @ delta.T - own.residuals).square().sum(1) * own.weights).sum()
    lost = torch.zeros_like(retain.keys) if retain.residuals is None else retain.residuals
    drift = ((retain.keys @ delta.T - lost).square().sum(1) * retain.weights).sum() / len(retain.keys)
    return fit + preservation * drift + ridge * delta.square().sum()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6), n=st.integers(1, 30), d=st.integers(40, 50), m=st.integers(1, 5), restore=st.booleans()
)
def test_solution_minimises_the_objective_without_changing_protected_keys(
    seed: int, n: int, d: int, m: int, restore: bool
) -> None:
    own, retain, protected = rows(seed, n, d), retained_keys(seed + 3, 4, d), random(m, d, seed=seed + 5)
    retain = with_losses(retain, seed + 7) if restore else retain
    equations = NormalEquations.from_rows(own, retain, orthogonal_complement_of(protected))
    delta = dense(equations, 2.0).requires_grad_()
    assert float((protected @ delta.detach().T).abs().max()) < 1e-10
    objective(delta, own, retain, 2.0, equations.ridge).backward()
    assert delta.grad is not None
    gradient = delta.grad @ (torch.eye(d, dtype=torch.float64) - torch.linalg.pinv(protected) @ protected)
    scale = max(1.0, float(equations.target(2.0).abs().max()))
    assert float(gradient.abs().max()) < 1e-8 * scale


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 20),
    preservation=st.sampled_from([0.25, 1.0, 64.0]),
    restore=st.booleans(),
)
def test_rows_and_statistics_give_the_same_update(seed: int, n: int, preservation: float, restore: bool) -> None:
    own, retain, protected = rows(seed, n, 32), retained_keys(seed + 3, 5, 32), random(3, 32, seed=seed + 5)
    retain, unprotected = with_losses(retain, seed + 7) if restore else retain, orthogonal_complement_of(protected)
    small = NormalEquations.from_rows(own, retain, unprotected)
    large = NormalEquations.from_statistics(own.statistics(), retain.moment, unprotected, retain.target)
    assert small.output_basis is not None
    assert small.ridge == pytest.approx(large.ridge, rel=1e-9)
    one, other = dense(small, preservation), dense(large, preservation)
    # What is restored is solved with a condition number of up to 1e10, so its entries agree relative to the largest one.
    atol = 1e-5 * float(other.abs().max()) if restore else 1e-7
    torch.testing.assert_close(one, other, atol=atol, rtol=1e-5)


def test_protection_holds_with_duplicate_and_zero_keys() -> None:
    own, retain, protected = rows(1, 6, 40), retained_keys(4, 3, 40), random(4, 40, seed=6)
    twice = concatenate_rows([own, own])
    none = replace(retain, keys=torch.zeros_like(retain.keys))
    delta = dense(NormalEquations.from_rows(twice, none, orthogonal_complement_of(protected)), 1.0)
    assert float((protected @ delta.T).abs().max()) < 1e-10
    assert float((own.keys @ delta.T - own.residuals).norm() / own.residuals.norm()) < 0.5


def test_larger_preservation_weight_changes_retained_values_less() -> None:
    retain = retained_keys(7, 10, 40)
    equations = NormalEquations.from_rows(rows(3, 10, 40), retain, orthogonal_complement_of(random(2, 40, seed=9)))
    drifts = [
        float((retain.keys @ dense(equations, weight).T).square().sum(1) @ retain.weights)
        for weight in (0.1, 1, 10, 100)
    ]
    assert drifts == sorted(drifts, reverse=True)


def test_singular_system_is_rejected() -> None:
    with pytest.raises(SolveError, match="positive definite"):
        cholesky(torch.zeros(4, 4, dtype=torch.float64))


def test_protecting_the_whole_space_is_rejected() -> None:
    with pytest.raises(SolveError, match="no direction"):
        orthogonal_complement_of(torch.eye(4, dtype=torch.float64))


def test_removals_commute() -> None:
    first, second = (rows(seed, 5, 6).statistics() for seed in (0, 7))
    torch.testing.assert_close((first + second).moment, (second + first).moment, rtol=0, atol=0)
    torch.testing.assert_close((first + second).target, (second + first).target, rtol=0, atol=0)
