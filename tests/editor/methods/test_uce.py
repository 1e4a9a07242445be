import torch

from editor.methods import uce
from editor.methods.edit_statistics import key_scale
from editor.methods.layer_edit import LayerEdit


def test_update_is_the_least_squares_solution(edit: LayerEdit) -> None:
    solution = uce.solve(edit)
    rows = edit.site.rows([pair for one in edit.removals for pair in edit.builder.edit_pairs(one)], "attention")
    retained, ridge = edit.retained_keys, uce.UCE_RIDGE * key_scale(edit)
    keys = torch.cat(
        [
            rows.weights.sqrt()[:, None] * rows.keys[rows.key_index],
            retained.weights.sqrt()[:, None] * retained.keys[retained.key_index],
            ridge**0.5 * torch.eye(edit.site.width, dtype=torch.float64),
        ]
    )
    wanted = torch.zeros_like(keys)
    wanted[: len(rows.weights)] = rows.weights.sqrt()[:, None] * rows.residuals
    expected = torch.linalg.lstsq(keys, wanted).solution.T
    torch.testing.assert_close(solution.up @ solution.down, expected, rtol=0, atol=1e-7 * float(expected.abs().max()))
    assert solution.preservation == len(edit.retain_prompts)
