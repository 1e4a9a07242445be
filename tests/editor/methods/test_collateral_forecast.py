"""Forecasts are compared with the edited encoder."""

import pytest
import torch
from torch import Tensor
from transformers import CLIPTextModel

from editor.checkpoints import OutputProjection, TextEncoder
from editor.emoji.profile import PROFILE
from editor.methods import collateral_forecast
from editor.methods.collateral_forecast import drop_probability, forecast_collateral
from editor.methods.encoder_edit import edit_encoder
from editor.methods.tensor_edits import TensorEdit
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval
from editor.sites.key_value_pairs import retained_positions
from editor.solver.normal_equations import NormalEquations
from editor.solver.regression import RegressionRows, RetainedKeys
from editor.solver.subspaces import orthogonal_complement_of

FOX = ResolvedRemoval(Concept("fox"), Destination("dog face", "replacement"))


@pytest.fixture(scope="module")
def done(source: TextEncoder, builder: PromptBuilder) -> TensorEdit:
    (done,) = edit_encoder(source, builder, [FOX])
    return done


def outputs(encoder: CLIPTextModel, ids: Tensor) -> Tensor:
    """Return the first layer's attention output without its bias, (length, d)."""
    seen: list[Tensor] = []
    projection = encoder.encoder.layers[0].self_attn.out_proj
    handle = projection.register_forward_hook(lambda *hooked: seen.append(hooked[2] - projection.bias))
    with torch.no_grad():
        encoder(ids[None])
    handle.remove()
    return seen[0][0]


def weighted_norm(vectors: Tensor, prompt_roles: list[tuple[list[int], float]]) -> float:
    return sum(weight * float(vectors[positions].square().sum(1).mean()) for positions, weight in prompt_roles) ** 0.5


def test_forecast_change_matches_the_edited_encoder(
    done: TensorEdit, source: TextEncoder, encoder: CLIPTextModel, builder: PromptBuilder
) -> None:
    text = "a picture of a tiger face, noto style"
    (foreseen,) = forecast_collateral(source, builder, {OutputProjection(0): done.update.up @ done.update.down}, [text])
    prompt = builder.tokenize(text)
    weight = encoder.encoder.layers[0].self_attn.out_proj.weight
    before = outputs(encoder, prompt.ids)
    with torch.no_grad():
        weight.copy_(done.update.edited)
    after = outputs(encoder, prompt.ids)
    with torch.no_grad():
        weight.copy_(done.update.base)
    expected = weighted_norm(after - before, list(retained_positions(prompt))) / weighted_norm(
        before, list(retained_positions(prompt))
    )
    assert foreseen.change == pytest.approx(expected, rel=1e-4)


def test_worst_prompt_is_first_and_names_the_concept(
    done: TensorEdit, source: TextEncoder, builder: PromptBuilder
) -> None:
    texts = ["a pizza", "a fox", "a rocket in the style of ink"]
    foreseen = forecast_collateral(source, builder, {OutputProjection(0): done.update.up @ done.update.down}, texts)
    assert foreseen[0].prompt == "a fox" == max(foreseen, key=lambda one: one.change).prompt
    drops = [one.drop or 0.0 for one in foreseen]
    assert drops == sorted(drops, reverse=True)


def test_forecast_movement_matches_the_edited_encoder(
    done: TensorEdit, source: TextEncoder, encoder: CLIPTextModel, builder: PromptBuilder
) -> None:
    text = "a picture of a tiger face, noto style"
    prompt, weight = builder.tokenize(text), encoder.encoder.layers[0].self_attn.out_proj.weight
    with torch.no_grad():
        before = encoder(prompt.ids[None]).last_hidden_state[0, prompt.eos :]
        weight.copy_(done.update.edited)
        after = encoder(prompt.ids[None]).last_hidden_state[0, prompt.eos :]
        weight.copy_(done.update.base)
    (foreseen,) = forecast_collateral(source, builder, {OutputProjection(0): done.update.up @ done.update.down}, [text])
    assert foreseen.moved == pytest.approx(float((after - before).norm() / before.norm()), rel=1e-3)


def test_estimated_movement_is_within_the_stated_tolerance(
    done: TensorEdit, source: TextEncoder, builder: PromptBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    deltas, texts = (
        {OutputProjection(0): done.update.up @ done.update.down},
        ["a pizza", "a fox", "a rocket in the style of ink"],
    )
    exact = {one.prompt: one for one in forecast_collateral(source, builder, deltas, texts)}
    monkeypatch.setattr(collateral_forecast, "EXACT_OPERATIONS", 0)
    for one in forecast_collateral(source, builder, deltas, texts):
        assert one.change == exact[one.prompt].change
        assert one.moved == pytest.approx(exact[one.prompt].moved, abs=0.035)
        assert one.drop == pytest.approx(exact[one.prompt].drop, abs=0.005)


def test_quick_forecast_computes_the_movement_of_the_prompts_that_change_most(
    done: TensorEdit, source: TextEncoder, builder: PromptBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    deltas, texts = (
        {OutputProjection(0): done.update.up @ done.update.down},
        [f"a {name}" for name in PROFILE.object_names[:12]],
    )
    for limit in ("EXACT_OPERATIONS", "QUICK_OPERATIONS"):
        monkeypatch.setattr(collateral_forecast, limit, 0)
    foreseen = forecast_collateral(source, builder, deltas, texts, quick=True)
    moved, others = foreseen[: collateral_forecast.MIN_MOVED_PROMPTS], foreseen[collateral_forecast.MIN_MOVED_PROMPTS :]
    assert all(one.moved is not None and one.drop is not None for one in moved)
    assert all(one.moved is None and one.drop is None for one in others)
    assert min(one.change for one in moved) >= max(one.change for one in others)
    assert {one.prompt for one in foreseen} == set(texts)


def test_record_lists_the_prompts_that_change_most(done: TensorEdit) -> None:
    changes = [one.change for one in done.record.foreseen]
    assert changes == sorted(changes, reverse=True)
    assert done.record.predicted_retain_p95 <= changes[0]
    assert not any("fox" in one.prompt for one in done.record.foreseen)


def test_single_key_leaves_the_share_given_by_its_novelty() -> None:
    """For one key of weight 1 and a retained moment, 1 / (1 + q) of the residual remains."""
    generator = torch.Generator().manual_seed(3)
    key, residual = torch.randn(2, 1, 40, dtype=torch.float64, generator=generator)
    ones, retained = torch.ones(1, dtype=torch.float64), torch.randn(60, 40, dtype=torch.float64, generator=generator)
    equations = NormalEquations.from_rows(
        RegressionRows(key, torch.tensor([0]), residual, ones, torch.tensor([0])),
        RetainedKeys(retained, torch.arange(60), torch.ones(60, dtype=torch.float64), torch.arange(60)),
        orthogonal_complement_of(torch.randn(2, 40, dtype=torch.float64, generator=generator)),
    )
    projected = equations.subspace.project(key)
    novelty = float(projected @ torch.linalg.solve(equations.system(50.0) - equations.removal.moment, projected.T))
    up, down = equations.to_weight_space(torch.ones(1, 1, dtype=torch.float64), equations.solve(50.0))
    left = float((residual - key @ (up @ down).T).norm() / residual.norm())
    assert left == pytest.approx(1 / (1 + novelty), rel=1e-9)


def test_concept_that_is_also_preserved_is_less_feasible(source: TextEncoder, builder: PromptBuilder) -> None:
    preserved = ResolvedRemoval(
        Concept("vixen"), Destination("dog face", "replacement"), preserve=("red vixen", "vixen cub", "the vixen")
    )
    (done,) = edit_encoder(source, builder, [preserved, FOX])
    by_name = {one.concept: one for one in done.record.feasibility}
    assert set(by_name) == {"fox", "vixen"}
    assert by_name["vixen"].left > by_name["fox"].left
    assert all(0 <= one.leak <= 1 for one in by_name.values())


def test_drop_probability_rises_with_the_movement() -> None:
    drops = [drop_probability(change / 10) for change in range(11)]
    assert drops == sorted(drops)
    assert drops[0] < 0.01
    assert drops[-1] > 0.95
