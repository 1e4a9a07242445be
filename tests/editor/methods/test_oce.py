import torch

from editor.methods import oce
from editor.methods.layer_edit import LayerEdit
from editor.sites.key_value_pairs import Site

IDENTITY = torch.eye(4, dtype=torch.float64)


def test_map_is_rotated(edit: LayerEdit) -> None:
    assert isinstance(edit.site, Site)
    solution, weight = oce.solve(edit), edit.site.norm_weight.double()
    after = weight + solution.up @ solution.down
    torch.testing.assert_close(after.T @ after, weight.T @ weight, rtol=0, atol=1e-9)
    assert float((after - weight).norm() / weight.norm()) > 0.05


def test_what_sets_a_concept_apart_is_reflected_and_the_rest_stays() -> None:
    rotation = oce.fit_rotation(IDENTITY[:2], IDENTITY[1:3], IDENTITY)
    torch.testing.assert_close(rotation, torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0], dtype=torch.float64)))


def test_nothing_changes_if_the_destination_spans_the_concept() -> None:
    torch.testing.assert_close(oce.fit_rotation(IDENTITY[:2], IDENTITY[:2], IDENTITY), IDENTITY)


def test_well_retained_directions_are_not_reflected() -> None:
    retained = torch.diag(torch.tensor([2 * oce.ALPHA, 1, 1, 1], dtype=torch.float64))
    torch.testing.assert_close(oce.fit_rotation(IDENTITY[:1], IDENTITY[1:2], retained), IDENTITY)
