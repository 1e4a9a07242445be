import pytest
import torch

from editor.errors import SolveError
from editor.methods import speed
from editor.methods.edit_statistics import NULL_EIGENVALUE, key_scale, sum_rows
from editor.methods.layer_edit import LayerEdit
from editor.methods.solution import solve_ridge
from editor.solver.subspaces import OrthogonalComplement, principal_directions


def test_update_is_that_of_the_published_formula(edit: LayerEdit) -> None:
    removed, row_count = sum_rows(edit)
    alpha, width = speed.SPEED_RIDGE * key_scale(edit), edit.site.width
    identity = torch.eye(width, dtype=torch.float64)
    retained = principal_directions(
        speed.influenced_moment(edit, solve_ridge(removed, alpha, row_count)), NULL_EIGENVALUE
    )
    projection = identity - retained.T @ retained
    null_keys = edit.unprotected_subspace.protected_basis
    inverse = torch.linalg.inv(removed.moment @ projection + alpha * identity)
    constraint = inverse @ null_keys @ torch.linalg.pinv(null_keys.T @ projection @ inverse @ null_keys, rtol=1e-9)
    expected = removed.target @ projection @ (identity - constraint @ null_keys.T @ projection) @ inverse
    solution = speed.solve(edit)
    torch.testing.assert_close(solution.up @ solution.down, expected, rtol=0, atol=1e-7 * float(expected.abs().max()))


def test_null_space_and_protected_keys_do_not_change(edit: LayerEdit) -> None:
    solution = speed.solve(edit)
    trial = solve_ridge(sum_rows(edit)[0], speed.SPEED_RIDGE * key_scale(edit), 0)
    retained = principal_directions(speed.influenced_moment(edit, trial), NULL_EIGENVALUE)
    for keys in (retained, edit.protected_keys):
        assert float((keys @ solution.down.T @ solution.up.T).abs().max()) < 1e-10
    assert float((edit.retained_keys.keys @ solution.down.T @ solution.up.T).abs().max()) > 1e-4, "the others may"


def test_retained_keys_that_leave_no_direction_are_reported(edit: LayerEdit) -> None:
    with pytest.raises(SolveError, match="no direction") as caught:
        edit.unprotected_subspace.without(torch.eye(edit.site.width, dtype=torch.float64))
    assert caught.value.field == "options.method"


def test_a_known_update_is_found_in_the_null_space() -> None:
    """One key along axis 0, of which axis 1 is retained and axis 2 protected."""
    free = OrthogonalComplement(torch.eye(4, dtype=torch.float64)[:, 2:3]).without(
        torch.eye(4, dtype=torch.float64)[1:2]
    )
    key = torch.tensor([[3.0, 5.0, 7.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(free.project(key), torch.tensor([[3.0, 0, 0, 0]], dtype=torch.float64))
