"""A map after the first edited one continues towards the destination, and brings retained prompts back."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from editor.checkpoints import OutputProjection, TextEncoder
from editor.jobs.forecast import update_by_projection
from editor.methods.config import MethodConfig
from editor.methods.default import solve
from editor.methods.encoder_edit import edit_encoder
from editor.methods.layer_edit import LayerEdit
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval, TokenizedPrompt
from editor.sites import key_value_pairs
from editor.sites.key_value_pairs import Site
from editor.sites.lazy_clip import LazyCLIPTextModel

INK = ResolvedRemoval(Concept("ink", "style"), Destination("noto", "replacement"))
TWO_MAPS = {"next layer": MethodConfig(layers=(0, 1)), "MLP": MethodConfig(edits_mlps=True)}
"""The attention of the first layer, and the map that is edited after it."""


@pytest.fixture(scope="module", params=TWO_MAPS)
def method(request: pytest.FixtureRequest) -> MethodConfig:
    return TWO_MAPS[request.param]


@pytest.fixture(scope="module")
def updates(source: TextEncoder, builder: PromptBuilder, method: MethodConfig) -> dict[OutputProjection, Tensor]:
    return update_by_projection(edit_encoder(source, builder, [INK], method))


@pytest.fixture(scope="module")
def second_map(
    source: TextEncoder, builder: PromptBuilder, method: MethodConfig, updates: dict[OutputProjection, Tensor]
) -> LayerEdit:
    """The edit of the second map, after that of the first."""
    model = LazyCLIPTextModel(source)
    site = Site(model, model.with_updates(first_of(updates)), max(updates))
    return LayerEdit(site, builder, (INK,), method.for_later_maps)


def first_of(updates: dict[OutputProjection, Tensor]) -> dict[OutputProjection, Tensor]:
    """Return the update of the first map alone."""
    return {OutputProjection(0): updates[OutputProjection(0)]}


def final_states(
    source: TextEncoder, updates: dict[OutputProjection, Tensor], prompts: list[TokenizedPrompt]
) -> Tensor:
    """Return the final states of prompts, (prompts, length, d)."""
    return LazyCLIPTextModel(source).with_updates(updates).final_states(torch.stack([one.ids for one in prompts]))


def test_a_second_map_moves_held_out_prompts_closer_to_their_destination(
    source: TextEncoder, second_map: LayerEdit, updates: dict[OutputProjection, Tensor]
) -> None:
    pairs = [pair for _, pair in second_map.held_out_pairs if pair.concept.eos == pair.destination.eos]
    assert pairs
    wanted = final_states(source, {}, [pair.destination for pair in pairs])
    one, two = (
        float((final_states(source, some, [pair.concept for pair in pairs]) - wanted).norm())
        for some in (first_of(updates), updates)
    )
    assert two < 0.9 * one


def test_a_second_map_does_not_move_retained_prompts_further(
    source: TextEncoder, second_map: LayerEdit, updates: dict[OutputProjection, Tensor]
) -> None:
    prompts = second_map.held_out_retain_prompts
    before = final_states(source, {}, prompts)
    one, two = (float((final_states(source, some, prompts) - before).norm()) for some in (first_of(updates), updates))
    assert two < one


def test_distances_at_a_later_map_count_from_the_unedited_encoder(source: TextEncoder, second_map: LayerEdit) -> None:
    up, down = (torch.zeros(size, dtype=torch.float64) for size in ((source.width, 1), (1, second_map.site.width)))
    held_out = second_map.held_out
    assert held_out.residual(up, down) < 0.7  # the first map has come part of the way
    assert float(held_out.drift(up, down).mean()) > 0.01  # and has moved the retained prompts

    model = LazyCLIPTextModel(source)
    unedited = replace(second_map, site=Site(model, model, second_map.site.projection))
    assert unedited.held_out.residual(up, down) == pytest.approx(1)
    assert float(unedited.held_out.drift(up, down).max()) == 0
    torch.testing.assert_close(
        held_out.targets.initial_squares, unedited.held_out.targets.initial_squares, rtol=1e-9, atol=0
    )


def test_published_methods_aim_at_every_layer_as_at_the_first() -> None:
    assert MethodConfig("uce").for_later_maps == MethodConfig("uce")
    assert MethodConfig().for_later_maps == MethodConfig(aim="residual")


def test_factors_of_a_second_map_have_a_lower_rank_and_nearly_the_same_effect(
    second_map: LayerEdit, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = solve(second_map)
    monkeypatch.setattr(key_value_pairs, "LATER_EFFECT_TOLERANCE", 1e-4)
    long = solve(second_map)
    assert short.up.shape[1] < long.up.shape[1]
    held_out = second_map.held_out
    assert held_out.residual(short.up, short.down) == pytest.approx(held_out.residual(long.up, long.down), abs=0.01)
    drifts = [float(held_out.drift(one.up, one.down).mean()) for one in (short, long)]
    assert drifts[0] == pytest.approx(drifts[1], abs=0.01)
