from typing import Any

import pytest
import torch
from torch import Tensor

from editor.checkpoints import TextEncoder
from editor.emoji.vocabulary import OBJECT_NAMES
from editor.errors import SolveError
from editor.methods.default import Edit, edit
from editor.prompts import Concept, Destination, PromptBook, Removal
from editor.sites.lazy_clip import Tower, everywhere
from editor.solver.config import Method

FOX = Removal(Concept("fox"), Destination("dog face", "replacement"))
INK = Removal(Concept("ink", "style"), Destination("", "null"))


@pytest.fixture(scope="module")
def tower(source: TextEncoder) -> Tower:
    return Tower(source).exact()


def delta_of(source: TextEncoder, book: PromptBook, removals: list[Removal], **method: Any) -> Tensor:
    (done,) = edit(source, book, removals, Method(**method))
    return done.update.up @ done.update.down


def all_keys(tower: Tower, ids: Tensor) -> Tensor:
    """(prompts, length, d) keys of the first layer, at every position."""
    states = tower.entering(ids, 0)
    return tower.attention(0).keys(states, everywhere(states.index)).reshape(*ids.shape, -1)


def moved(tower: Tower, book: PromptBook, delta: Tensor, texts: list[str]) -> float:
    """Mean change of the attention outputs of some prompts, relative to the outputs."""
    keys = all_keys(tower, book.ids(texts))
    return float((keys @ delta.T).norm() / (keys @ tower.weight(0).T).norm())


def test_prompts_of_the_concept_move_and_others_hardly_do(source: TextEncoder, book: PromptBook, tower: Tower) -> None:
    delta = delta_of(source, book, [FOX])
    named = moved(tower, book, delta, ["a picture of a fox, noto style", "ink style picture of a fox"])
    others = moved(tower, book, delta, ["a picture of a pizza, noto style", "ink style picture of a horse"])
    assert named > 3 * others


def test_bos_and_the_null_prompt_stay_exactly(source: TextEncoder, book: PromptBook, tower: Tower) -> None:
    (done,) = edit(source, book, [FOX, INK])
    update, record = done.update, done.record
    keys = all_keys(tower, book.ids([""]))[0]
    assert float((keys @ (update.up @ update.down).T).abs().max()) < 1e-9
    assert record.null_prompt_drift < 1e-9


def test_factors_are_exact_and_of_the_least_rank(source: TextEncoder, book: PromptBook) -> None:
    (done,) = edit(source, book, [FOX])
    update, record = done.update, done.record
    delta = update.up @ update.down
    assert record.rank == torch.linalg.matrix_rank(delta, rtol=1e-11) == update.up.shape[1]
    assert record.rank < delta.shape[0], "the protected directions cost rank"
    torch.testing.assert_close(update.edited.double(), update.base.double() + delta, atol=1e-7, rtol=1e-6)


def test_the_search_reports_the_curve_it_chose_from(source: TextEncoder, book: PromptBook) -> None:
    (done,) = edit(source, book, [FOX])
    record = done.record
    chosen = next(point for point in record.trade_off if point.preservation == record.preservation)
    assert chosen.predicted_retain_p95 == pytest.approx(record.predicted_retain_p95, rel=0.02), (
        "but for what truncation leaves out"
    )
    drifts = [point.predicted_retain_p95 for point in record.trade_off]
    assert drifts == sorted(drifts, reverse=True), "more preservation, less drift"


def test_a_given_weight_is_obeyed(source: TextEncoder, book: PromptBook) -> None:
    (done,) = edit(source, book, [FOX], Method(preservation=7.0))
    assert done.record.preservation == 7.0


def test_a_rerun_gives_the_same_bytes(source: TextEncoder, book: PromptBook) -> None:
    first, second = (edit(source, book, [FOX])[0].update.edited for _ in range(2))
    assert torch.equal(first, second)


def test_aliases_move_with_the_concept(source: TextEncoder, book: PromptBook, tower: Tower) -> None:
    alias = Removal(FOX.concept, FOX.destination, aliases=("vixen",))
    without, with_it = (delta_of(source, book, [removal]) for removal in (FOX, alias))
    assert moved(tower, book, with_it, ["a vixen"]) > 2 * moved(tower, book, without, ["a vixen"])


def test_the_paper_preset_preserves_and_protects_nothing(source: TextEncoder, book: PromptBook, tower: Tower) -> None:
    (done,) = edit(source, book, [FOX], Method("paper"))
    update, record = done.update, done.record
    delta = update.up @ update.down
    assert record.ridge == 0.01
    assert record.trade_off == []
    assert record.columns == sum(book.context - pair.last_subject for pair in book.paper_pairs(FOX)), (
        "to the last padding"
    )
    assert record.null_prompt_drift > 1e-3
    others = ["a picture of a pizza, noto style", "ink style picture of a horse"]
    assert moved(tower, book, delta, others) > moved(tower, book, delta_of(source, book, [FOX]), others)


def final_states(source: TextEncoder, ids: Tensor, done: list[Edit]) -> Tensor:
    updates = {one.record.layer: one.update.up @ one.update.down for one in done}
    return Tower(source).exact().edited(updates).final(ids)


def test_pinned_prompts_come_out_the_same(source: TextEncoder, book: PromptBook) -> None:
    pin = "a fox hound in the style of ink"
    ids = book.ids([pin])
    before = final_states(source, ids, [])
    free = edit(source, book, [FOX])
    pinned = edit(source, book, [FOX], Method(pins=(pin,)))
    assert float((final_states(source, ids, free) - before).abs().max()) > 1e-3
    assert float((final_states(source, ids, pinned) - before).abs().max()) < 1e-9


def test_too_many_pins_leave_nothing_to_edit(source: TextEncoder, book: PromptBook) -> None:
    pins = tuple(f"a {name}" for name in OBJECT_NAMES[:10])
    with pytest.raises(SolveError, match="no direction"):
        edit(source, book, [FOX], Method(pins=pins))


def test_several_layers_are_edited_one_after_the_other(source: TextEncoder, book: PromptBook) -> None:
    done = edit(source, book, [FOX], Method(layers=(0, 2), layer_choice="as was asked"))
    assert [(one.record.layer, one.update.name) for one in done] == [
        (layer, f"text_model.encoder.layers.{layer}.self_attn.out_proj.weight") for layer in (0, 2)
    ]
    (first,) = edit(source, book, [FOX])
    assert torch.equal(done[0].update.edited, first.update.edited)
    assert {one.record.layer_choice for one in done} == {"as was asked"}


def test_order_does_not_matter(source: TextEncoder, book: PromptBook) -> None:
    there, back = (edit(source, book, removals)[0].update.edited for removals in ([FOX, INK], [INK, FOX]))
    assert torch.equal(there, back)
