"""Under-fitted removals get a larger weight, in rows as well as in statistics."""

import pytest
import torch

from editor.checkpoints import OutputProjection, TextEncoder, open_checkpoint
from editor.emoji import WEIGHTS
from editor.methods import layer_edit
from editor.methods.config import DEFAULT_METHOD, MethodConfig
from editor.methods.default import build_normal_equations, search_preservation
from editor.methods.encoder_edit import edit_encoder
from editor.methods.layer_edit import LayerEdit, canonical_order
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval, open_prompt_builder
from editor.sites.key_value_pairs import Site
from editor.sites.lazy_clip import LazyCLIPTextModel
from editor.solver.preservation_search import MAX_REWEIGHT, search_weight, upweight_underfit

CONCEPTS = ("fox", "pizza", "owl", "rocket", "violin")
MANY = canonical_order(ResolvedRemoval(Concept(name), Destination("dog face", "replacement")) for name in CONCEPTS)


@pytest.fixture
def edit(source: TextEncoder, builder: PromptBuilder) -> LayerEdit:
    model = LazyCLIPTextModel(source)
    return LayerEdit(Site(model, model, OutputProjection(0)), builder, MANY, DEFAULT_METHOD)


def test_only_under_fitted_removals_are_upweighted_up_to_the_maximum() -> None:
    weights = upweight_underfit(MANY, torch.tensor([0.1, 0.1, 0.1, 0.2, 2.0]))
    assert weights == {MANY[4]: MAX_REWEIGHT}
    assert upweight_underfit(MANY, torch.full((5,), 0.3)) == {}
    (_, nearly), (_, twice) = upweight_underfit(MANY, torch.tensor([0.2, 0.2, 0.2, 0.32, 0.35])).items()
    assert 1 < nearly < twice < 2.25


def open_trained_edit(removals: tuple[ResolvedRemoval, ...]) -> LayerEdit:
    model = LazyCLIPTextModel(open_checkpoint(WEIGHTS).encoders[0])
    return LayerEdit(Site(model, model, OutputProjection(0)), open_prompt_builder(WEIGHTS), removals, DEFAULT_METHOD)


def test_reweighting_lowers_the_held_out_cost_where_a_removal_is_under_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    style = ResolvedRemoval(Concept("twemoji", "style"), Destination("noto", "replacement"))
    objects = [removal for removal in MANY if removal.concept.name in {"fox", "pizza"}]
    removals = canonical_order([*objects, style])
    edit = open_trained_edit(removals)
    _, reweighted, weights = search_preservation(edit)
    monkeypatch.setattr(layer_edit, "MAX_MEASURED_REMOVALS", 0)
    _, plain, none = search_preservation(LayerEdit(edit.site, edit.builder, removals, DEFAULT_METHOD))
    assert [*weights] == [style]
    assert not none
    assert reweighted.best.cost < plain.best.cost


def test_weights_that_would_raise_the_held_out_cost_are_not_used() -> None:
    mapped = {"fox": "wolf", "pizza": "hot dog", "rocket": "guitar"}
    removals = [ResolvedRemoval(Concept(name), Destination(to, "replacement")) for name, to in mapped.items()]
    edit = open_trained_edit(canonical_order(removals))
    plain = search_weight(build_normal_equations(edit, {}), edit.held_out)
    weights = upweight_underfit(edit.sampled_removals, plain.best.remaining_shares)
    reweighted = search_weight(build_normal_equations(edit, weights), edit.held_out)
    assert reweighted.best.cost > plain.best.cost
    _, chosen, used = search_preservation(edit)
    assert not used
    assert chosen.best.cost == plain.best.cost


def test_reweighted_statistics_equal_weighted_sums(edit: LayerEdit) -> None:
    sums = {removal: edit.statistics_of(removal).to_float64() for removal in MANY}
    weights = {MANY[0]: 1.5, MANY[3]: 2.25}
    summed = edit.reweighted_statistics(weights)
    for part in ("moment", "target"):
        expected = sum(getattr(sums[removal], part) * weights.get(removal, 1.0) for removal in MANY)
        torch.testing.assert_close(getattr(summed, part), expected, rtol=1e-6, atol=1e-6)


def test_rows_and_statistics_are_reweighted_the_same_way(edit: LayerEdit, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = {MANY[1]: 1.75}
    monkeypatch.setattr(
        LayerEdit,
        "small_problem_pairs",
        [(removal, pair) for removal in MANY for pair in edit.builder.edit_pairs(removal)],
    )
    from_rows, from_statistics = edit.reweighted_rows(weights).statistics(), edit.reweighted_statistics(weights)
    torch.testing.assert_close(from_rows.moment, from_statistics.moment, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(from_rows.target, from_statistics.target, rtol=1e-5, atol=1e-5)


def test_record_contains_the_removal_weights(source: TextEncoder, builder: PromptBuilder, edit: LayerEdit) -> None:
    (done,) = edit_encoder(source, builder, MANY, MethodConfig(spread=False))
    _, _, weights = search_preservation(edit)
    expected = {removal.concept.name: pytest.approx(weights.get(removal, 1.0)) for removal in MANY}
    assert {one.concept: one.weight for one in done.record.feasibility} == expected
