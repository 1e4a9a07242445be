from typing import Any

import pytest
import torch
from torch import Tensor

from editor.checkpoints import OutputProjection, TextEncoder, open_checkpoint
from editor.emoji import WEIGHTS
from editor.emoji.vocabulary import OBJECT_NAMES
from editor.errors import SolveError
from editor.methods.config import MethodConfig
from editor.methods.encoder_edit import edit_encoder
from editor.methods.tensor_edits import TensorEdit
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval, open_prompt_builder
from editor.sites.lazy_clip import LazyCLIPTextModel, all_positions

FOX = ResolvedRemoval(Concept("fox"), Destination("dog face", "replacement"))
INK = ResolvedRemoval(Concept("ink", "style"), Destination("", "null"))


@pytest.fixture(scope="module")
def model(source: TextEncoder) -> LazyCLIPTextModel:
    return LazyCLIPTextModel(source).in_float64()


def delta_of(source: TextEncoder, builder: PromptBuilder, removals: list[ResolvedRemoval], **method: Any) -> Tensor:
    (done,) = edit_encoder(source, builder, removals, MethodConfig(**method))
    return done.update.up @ done.update.down


def all_keys(model: LazyCLIPTextModel, ids: Tensor) -> Tensor:
    """Return the keys of the first layer at every position, (prompts, length, d)."""
    states = model.hidden_states_before(ids, 0)
    return model.attention(0).keys(states, all_positions(states.index)).reshape(*ids.shape, -1)


def mean_change(model: LazyCLIPTextModel, builder: PromptBuilder, delta: Tensor, texts: list[str]) -> float:
    """Return the change of the prompts' attention outputs relative to the outputs."""
    keys = all_keys(model, builder.token_ids(texts))
    return float((keys @ delta.T).norm() / (keys @ model.weight(OutputProjection(0)).T).norm())


def test_prompts_of_the_concept_change_more_than_others() -> None:
    source, builder = open_checkpoint(WEIGHTS).encoders[0], open_prompt_builder(WEIGHTS)
    model, delta = LazyCLIPTextModel(source).in_float64(), delta_of(source, builder, [FOX])
    named = mean_change(model, builder, delta, ["a picture of a fox, noto style", "ink style picture of a fox"])
    others = mean_change(model, builder, delta, ["a picture of a pizza, noto style", "ink style picture of a horse"])
    assert named > 3 * others


def test_bos_and_null_prompt_do_not_change(
    source: TextEncoder, builder: PromptBuilder, model: LazyCLIPTextModel
) -> None:
    (done,) = edit_encoder(source, builder, [FOX, INK], MethodConfig(spread=False))
    update, record = done.update, done.record
    keys = all_keys(model, builder.token_ids([""]))[0]
    assert float((keys @ (update.up @ update.down).T).abs().max()) < 1e-9
    assert record.null_prompt_drift < 1e-9


def test_factors_are_exact_and_of_minimal_rank(source: TextEncoder, builder: PromptBuilder) -> None:
    (done,) = edit_encoder(source, builder, [FOX])
    update, record = done.update, done.record
    delta = update.up @ update.down
    assert record.rank == torch.linalg.matrix_rank(delta, rtol=1e-11) == update.up.shape[1]
    assert record.rank < delta.shape[0], "the protected directions cost rank"
    torch.testing.assert_close(update.edited.double(), update.base.double() + delta, atol=1e-7, rtol=1e-6)


def test_record_contains_the_evaluated_candidates(source: TextEncoder, builder: PromptBuilder) -> None:
    (done,) = edit_encoder(source, builder, [FOX])
    record = done.record
    chosen = next(point for point in record.trade_off if point.preservation == record.preservation)
    assert chosen.predicted_retain_p95 == pytest.approx(record.predicted_retain_p95, rel=0.02), "up to truncation"
    drifts = [point.predicted_retain_p95 for point in record.trade_off]
    assert drifts == sorted(drifts, reverse=True), "more preservation, less drift"


def test_requested_preservation_weight_is_used(source: TextEncoder, builder: PromptBuilder) -> None:
    (done,) = edit_encoder(source, builder, [FOX], MethodConfig(preservation=7.0))
    assert done.record.preservation == 7.0


def test_edit_is_deterministic(source: TextEncoder, builder: PromptBuilder) -> None:
    first, second = (edit_encoder(source, builder, [FOX])[0].update.edited for _ in range(2))
    assert torch.equal(first, second)


def test_aliases_are_removed_with_the_concept(
    source: TextEncoder, builder: PromptBuilder, model: LazyCLIPTextModel
) -> None:
    alias = ResolvedRemoval(FOX.concept, FOX.destination, aliases=("vixen",))
    without, with_it = (delta_of(source, builder, [removal]) for removal in (FOX, alias))
    assert mean_change(model, builder, with_it, ["a vixen"]) > 2 * mean_change(model, builder, without, ["a vixen"])


def test_diff_quickfix_neither_preserves_nor_protects(
    source: TextEncoder, builder: PromptBuilder, model: LazyCLIPTextModel
) -> None:
    (done,) = edit_encoder(source, builder, [FOX], MethodConfig("diff_quickfix"))
    update, record = done.update, done.record
    delta = update.up @ update.down
    assert record.ridge == 0.01
    assert record.trade_off == []
    assert record.columns == sum(
        builder.context_length - pair.last_subject for pair in builder.diff_quickfix_pairs(FOX)
    ), "up to the last padding token"
    assert record.null_prompt_drift > 1e-3
    others = ["a picture of a pizza, noto style", "ink style picture of a horse"]
    assert mean_change(model, builder, delta, others) > mean_change(
        model, builder, delta_of(source, builder, [FOX]), others
    )


def final_states(source: TextEncoder, ids: Tensor, done: list[TensorEdit]) -> Tensor:
    updates = {OutputProjection.from_weight_name(one.update.name): one.update.up @ one.update.down for one in done}
    return LazyCLIPTextModel(source).in_float64().with_updates(updates).final_states(ids)


def test_pinned_prompts_do_not_change(source: TextEncoder, builder: PromptBuilder) -> None:
    pin = "a fox hound in the style of ink"
    ids = builder.token_ids([pin])
    before = final_states(source, ids, [])
    free = edit_encoder(source, builder, [FOX])
    pinned = edit_encoder(source, builder, [FOX], MethodConfig(pins=(pin,)))
    assert float((final_states(source, ids, free) - before).abs().max()) > 1e-3
    assert float((final_states(source, ids, pinned) - before).abs().max()) < 1e-9


def test_too_many_pins_are_rejected(source: TextEncoder, builder: PromptBuilder) -> None:
    pins = tuple(f"a {name}" for name in OBJECT_NAMES[:10])
    with pytest.raises(SolveError, match="no direction"):
        edit_encoder(source, builder, [FOX], MethodConfig(pins=pins))


def test_layers_are_edited_in_sequence(source: TextEncoder, builder: PromptBuilder) -> None:
    done = edit_encoder(source, builder, [FOX], MethodConfig(layers=(0, 2), layer_choice="as requested"))
    assert [(one.record.layer, one.update.name) for one in done] == [
        (layer, f"text_model.encoder.layers.{layer}.self_attn.out_proj.weight") for layer in (0, 2)
    ]
    (first,) = edit_encoder(source, builder, [FOX])
    assert torch.equal(done[0].update.edited, first.update.edited)
    assert {one.record.layer_choice for one in done} == {"as requested"}


def test_edit_does_not_depend_on_the_order_of_removals(source: TextEncoder, builder: PromptBuilder) -> None:
    forward, backward = (
        edit_encoder(source, builder, removals)[0].update.edited for removals in ([FOX, INK], [INK, FOX])
    )
    assert torch.equal(forward, backward)
