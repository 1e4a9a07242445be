"""The released Diff-QuickFix procedure (Basu et al. 2024, eqs. 8-9), for comparison, including its mistakes.

Four prefixes; keys from the last subject token to the last padding token; values paired by distance from the subject, with
the last position repeated past the end of the destination; values include the bias of ``out_proj``, although the bias is not
edited; absolute lambda 0.01; nothing preserved or protected. Only the arithmetic differs: a float64 solve instead of a
float32 inverse.
"""

import torch

from editor.errors import SiteError
from editor.methods.layer_edit import LayerEdit
from editor.methods.solution import Solution, solve_ridge
from editor.prompts import PromptPair
from editor.sites.clip_attention import TokenPositions
from editor.sites.key_value_pairs import Site
from editor.solver.regression import RegressionRows, concatenate_rows

DIFF_QUICKFIX_RIDGE = 0.01
OUT_PROJ_BIAS = "self_attn.out_proj.bias"


def solve(edit: LayerEdit) -> Solution:
    """Return the update of one attention output of a text encoder.

    Raises:
        SiteError: the site is another one.
    """
    if not isinstance(edit.site, Site):
        raise SiteError(
            "The method 'diff_quickfix' edits the attention output of a text encoder only.",
            field="options.sites",
            remedy="Leave sites out, or choose another method.",
        )
    pairs = [pair for removal in edit.removals for pair in edit.builder.diff_quickfix_pairs(removal)]
    rows = concatenate_rows([diff_quickfix_rows(edit.site, pair) for pair in pairs])
    return solve_ridge(rows.statistics(), DIFF_QUICKFIX_RIDGE, len(rows.keys))


def diff_quickfix_rows(site: Site, pair: PromptPair) -> RegressionRows:
    """Return the regression rows of one pair."""
    positions = torch.arange(pair.last_subject, len(pair.concept.ids))
    target_positions = pair.destination.eos - 1 + torch.arange(len(positions))
    target_positions = target_positions.clamp(max=len(pair.concept.ids) - 1)
    keys = site.keys(pair.concept.ids[None], TokenPositions.of_one_prompt(positions))
    target_keys = site.keys(pair.destination.ids[None], TokenPositions.of_one_prompt(target_positions))
    values = target_keys @ site.weight.T
    residuals = values + site.base.layer_tensor(site.layer, OUT_PROJ_BIAS) - keys @ site.weight.T
    weights = torch.ones(len(keys), dtype=torch.float64)
    return RegressionRows(keys, torch.arange(len(keys)), residuals, weights, torch.zeros_like(positions))
