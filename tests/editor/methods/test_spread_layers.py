"""The edit of several removals is spread over more layers, and the result still depends on the set alone."""

from pathlib import Path

import pytest
import torch

from editor.checkpoints import OutputProjection, TextEncoder
from editor.methods.config import MAX_SPREAD_REMOVALS, MIN_SPREAD_REMOVALS, SPREAD_LAYERS, MethodConfig, spread_layers
from editor.methods.encoder_edit import edit_encoder
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval
from editor.solver.tensor_cache import FolderCache

NAMES = ("fox", "pizza", "owl", "rocket", "violin")
MANY = [ResolvedRemoval(Concept(name), Destination("dog face", "replacement")) for name in NAMES]


INK = ResolvedRemoval(Concept("ink", "style"), Destination("noto", "replacement"))


@pytest.mark.parametrize(
    ("removals", "layers"),
    [
        (1, 1),
        (MIN_SPREAD_REMOVALS - 1, 1),
        (MIN_SPREAD_REMOVALS, SPREAD_LAYERS),
        (MAX_SPREAD_REMOVALS, SPREAD_LAYERS),
        (MAX_SPREAD_REMOVALS + 1, 1),
    ],
)
def test_several_removals_are_spread(removals: int, layers: int) -> None:
    method = spread_layers(MethodConfig(), MANY[:1] * removals, 12)
    assert method.layers == tuple(range(layers))
    assert (str(removals) in method.layer_choice) == (layers > 1)
    assert method.edits_mlps == (layers > 1)


def test_a_style_is_spread() -> None:
    for removals in ([INK], [MANY[0], INK]):
        method = spread_layers(MethodConfig(), removals, 12)
        assert method.layers == tuple(range(SPREAD_LAYERS))
        assert "style" in method.layer_choice
        assert method.edits_mlps


def test_layers_that_a_request_names_and_other_methods_are_not_spread() -> None:
    for method in (MethodConfig(layers=(1,)), MethodConfig(spread=False), MethodConfig("diff_quickfix")):
        assert spread_layers(method, MANY, 12) == method
        assert spread_layers(method, [INK], 12) == method
    assert spread_layers(MethodConfig(), MANY, 2).layers == (0, 1)


def test_an_edit_that_aims_at_the_last_layer_leaves_mlps_alone() -> None:
    method = spread_layers(MethodConfig(aim="last_layer"), MANY, 12)
    assert method.layers == tuple(range(SPREAD_LAYERS))
    assert not method.edits_mlps


def test_a_spread_edit_does_not_depend_on_what_was_solved_before(
    source: TextEncoder, builder: PromptBuilder, tmp_path: Path
) -> None:
    cache = FolderCache(tmp_path)
    edit_encoder(source, builder, MANY[:-1], cache=cache)
    grown = edit_encoder(source, builder, MANY, cache=cache)
    fresh = edit_encoder(source, builder, MANY[::-1])
    maps = [OutputProjection(layer, of_mlp) for layer in range(SPREAD_LAYERS) for of_mlp in (False, True)]
    assert [edit.update.name for edit in grown] == [one.weight_name for one in maps]
    assert [(edit.record.layer, edit.record.of_mlp) for edit in grown] == [(one.layer, one.of_mlp) for one in maps]
    for one, other in zip(grown, fresh, strict=True):
        assert torch.equal(one.update.up, other.update.up)
        assert torch.equal(one.update.down, other.update.down)
        assert one.record.preservation == other.record.preservation
