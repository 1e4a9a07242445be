import torch

from editor.methods import double_projections
from editor.methods.edit_statistics import NULL_EIGENVALUE
from editor.methods.layer_edit import LayerEdit
from editor.solver.regression import RegressionRows
from editor.solver.subspaces import principal_directions


def rows_of_one_key(key: list[float], residual: list[float]) -> RegressionRows:
    zero = torch.zeros(1, dtype=torch.long)
    keys, residuals = torch.tensor([key], dtype=torch.float64), torch.tensor([residual], dtype=torch.float64)
    return RegressionRows(keys, zero, residuals, torch.ones(1, dtype=torch.float64), zero)


def test_proxy_is_the_projection_on_the_destination() -> None:
    rows = rows_of_one_key([3.0, 4.0], [2.0, -4.0])  # the destination is (5, 0)
    proxy = double_projections.replace_by_proxy(rows, torch.eye(2))
    torch.testing.assert_close(rows.keys + proxy.residuals, torch.tensor([[3.0, 0.0]], dtype=torch.float64))


def test_retained_directions_do_not_change(edit: LayerEdit) -> None:
    solution = double_projections.solve(edit)
    retained = principal_directions(edit.retain_moment, NULL_EIGENVALUE)
    assert float((retained @ solution.down.T @ solution.up.T).abs().max()) < 1e-10


def test_update_of_one_key_is_the_published_one() -> None:
    """dW = r x^T U2^T / |x|^2 with x = U2^T k maps the key to its proxy exactly, whatever it has in the retained span."""
    rows = rows_of_one_key([3.0, 4.0, 5.0], [1.0, 1.0, 0.0])
    retained = torch.eye(3, dtype=torch.float64)[2:]
    delta = double_projections.fit_in_null_space(rows.statistics(), retained)
    expected = rows.residuals.T @ torch.tensor([[3.0, 4.0, 0.0]], dtype=torch.float64) / 25
    torch.testing.assert_close(delta, expected)
    torch.testing.assert_close(rows.keys @ delta.T, rows.residuals)
