"""A layer after the first edited one continues towards the destination, and brings retained prompts back."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from editor.checkpoints import TextEncoder
from editor.methods.config import MethodConfig
from editor.methods.encoder_edit import edit_encoder
from editor.methods.layer_edit import LayerEdit
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval, TokenizedPrompt
from editor.sites.key_value_pairs import Site
from editor.sites.lazy_clip import LazyCLIPTextModel

INK = ResolvedRemoval(Concept("ink", "style"), Destination("noto", "replacement"))
TWO_LAYERS = MethodConfig(layers=(0, 1))


@pytest.fixture(scope="module")
def updates(source: TextEncoder, builder: PromptBuilder) -> dict[int, Tensor]:
    edits = edit_encoder(source, builder, [INK], TWO_LAYERS)
    return dict(enumerate(edit.update.up @ edit.update.down for edit in edits))


@pytest.fixture(scope="module")
def second_layer(source: TextEncoder, builder: PromptBuilder, updates: dict[int, Tensor]) -> LayerEdit:
    """The edit of the second layer, after that of the first."""
    model = LazyCLIPTextModel(source)
    site = Site(model, model.with_updates({0: updates[0]}), 1)
    return LayerEdit(site, builder, (INK,), TWO_LAYERS.for_later_layers)


def final_states(source: TextEncoder, updates: dict[int, Tensor], prompts: list[TokenizedPrompt]) -> Tensor:
    """Return the final states of prompts, (prompts, length, d)."""
    return LazyCLIPTextModel(source).with_updates(updates).final_states(torch.stack([one.ids for one in prompts]))


def test_a_second_layer_moves_held_out_prompts_closer_to_their_destination(
    source: TextEncoder, second_layer: LayerEdit, updates: dict[int, Tensor]
) -> None:
    pairs = [pair for _, pair in second_layer.held_out_pairs if pair.concept.eos == pair.destination.eos]
    assert pairs
    wanted = final_states(source, {}, [pair.destination for pair in pairs])
    one, two = (
        float((final_states(source, some, [pair.concept for pair in pairs]) - wanted).norm())
        for some in ({0: updates[0]}, updates)
    )
    assert two < 0.9 * one


def test_a_second_layer_does_not_move_retained_prompts_further(
    source: TextEncoder, second_layer: LayerEdit, updates: dict[int, Tensor]
) -> None:
    prompts = second_layer.held_out_retain_prompts
    before = final_states(source, {}, prompts)
    one, two = (float((final_states(source, some, prompts) - before).norm()) for some in ({0: updates[0]}, updates))
    assert two < one


def test_distances_at_a_later_layer_count_from_the_unedited_encoder(
    source: TextEncoder, second_layer: LayerEdit
) -> None:
    nothing, held_out = torch.zeros(1, source.width, dtype=torch.float64), second_layer.held_out
    assert held_out.residual(nothing.T, nothing) < 0.7  # the first layer has come part of the way
    assert float(held_out.drift(nothing.T, nothing).mean()) > 0.01  # and has moved the retained prompts

    model = LazyCLIPTextModel(source)
    unedited = replace(second_layer, site=Site(model, model, 1))
    assert unedited.held_out.residual(nothing.T, nothing) == pytest.approx(1)
    assert float(unedited.held_out.drift(nothing.T, nothing).max()) == 0
    torch.testing.assert_close(
        held_out.targets.initial_squares, unedited.held_out.targets.initial_squares, rtol=1e-9, atol=0
    )


def test_published_methods_aim_at_every_layer_as_at_the_first() -> None:
    assert MethodConfig("uce").for_later_layers == MethodConfig("uce")
    assert MethodConfig().for_later_layers == MethodConfig(aim="residual")
