import pytest
import torch
from transformers import CLIPTextModel

from editor.checkpoints import OutputProjection, TextEncoder
from editor.prompts import PromptBuilder
from editor.sites.clip_attention import TokenPositions
from editor.sites.key_value_pairs import Site
from editor.sites.lazy_clip import LazyCLIPTextModel, all_positions

TEXTS = ["", "a fox", "an image of a lady beetle, noto style on a blue background"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layer", [0, 2])
def test_keys_equal_the_input_of_out_proj_in_transformers(
    layer: int, dtype: torch.dtype, source: TextEncoder, encoder: CLIPTextModel, builder: PromptBuilder
) -> None:
    seen: list[torch.Tensor] = []
    projection = encoder.encoder.layers[layer].self_attn.out_proj
    handle = projection.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    ids = builder.token_ids(TEXTS)
    with torch.no_grad():
        encoder(ids)
    handle.remove()
    model = LazyCLIPTextModel(source) if dtype is torch.float32 else LazyCLIPTextModel(source).in_float64()
    states = model.hidden_states_before(ids, layer)
    keys = model.attention(layer).keys(states, all_positions(states.index))
    assert keys.dtype == dtype
    torch.testing.assert_close(keys.reshape(seen[0].shape).float(), seen[0], atol=1e-5, rtol=1e-5)


def test_final_states_equal_those_of_transformers(
    source: TextEncoder, encoder: CLIPTextModel, builder: PromptBuilder
) -> None:
    ids = builder.token_ids(TEXTS)
    with torch.no_grad():
        expected = encoder(ids).last_hidden_state
    torch.testing.assert_close(LazyCLIPTextModel(source).final_states(ids).float(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("of_mlp", [False, True])
def test_updates_act_like_edited_weights(
    of_mlp: bool, source: TextEncoder, encoder: CLIPTextModel, builder: PromptBuilder
) -> None:
    layer, ids = encoder.encoder.layers[1], builder.token_ids(TEXTS)
    weight = layer.mlp.fc2.weight if of_mlp else layer.self_attn.out_proj.weight
    delta = 0.1 * torch.randn(weight.shape, dtype=torch.float64)
    with torch.no_grad():
        weight += delta
        expected = encoder(ids).last_hidden_state
        weight -= delta
    torch.testing.assert_close(
        LazyCLIPTextModel(source).with_updates({OutputProjection(1, of_mlp): delta}).final_states(ids).float(),
        expected,
        atol=1e-5,
        rtol=1e-4,
    )


def test_mlp_reads_what_it_reads_in_transformers_after_an_edited_attention(
    source: TextEncoder, encoder: CLIPTextModel, builder: PromptBuilder
) -> None:
    layer, ids, seen = encoder.encoder.layers[1], builder.token_ids(TEXTS), dict[str, torch.Tensor]()
    weight, delta = layer.self_attn.out_proj.weight, 0.1 * torch.randn(64, 64, dtype=torch.float64)
    modules = {"keys": layer.mlp.fc2, "stream": layer.layer_norm2}
    handles = [
        module.register_forward_pre_hook(lambda _, inputs, name=name: seen.update({name: inputs[0]}))
        for name, module in modules.items()
    ]
    with torch.no_grad():
        weight += delta
        encoder(ids)
        weight -= delta
    for handle in handles:
        handle.remove()
    model = LazyCLIPTextModel(source)
    site = Site(model, model.with_updates({OutputProjection(1): delta}), OutputProjection(1, of_mlp=True))
    keys, stream = site.inputs_at(model.hidden_states_before(ids, 1), all_positions(ids))
    torch.testing.assert_close(keys.float(), seen["keys"].flatten(0, 1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(stream, seen["stream"].flatten(0, 1), atol=1e-5, rtol=1e-5)


def test_keys_at_selected_positions_equal_those_computed_everywhere(
    source: TextEncoder, builder: PromptBuilder
) -> None:
    model, ids = (
        LazyCLIPTextModel(source).in_float64(),
        builder.token_ids(["a fox", "an owl in the style of ink", "a pizza"] * 40),
    )
    states = model.hidden_states_before(ids, 0)
    every = model.attention(0).keys(states, all_positions(states.index)).reshape(*ids.shape, -1)
    prompts = torch.tensor([0, 0, 3, 64, 64, 64, 119])
    positions = torch.tensor([5, 2, 1, 23, 0, 7, 9])
    some = model.attention(0).keys(states, TokenPositions(prompts, positions))
    torch.testing.assert_close(some, every[prompts, positions], atol=1e-12, rtol=0)


def test_keys_depend_only_on_preceding_tokens(source: TextEncoder, builder: PromptBuilder) -> None:
    model = LazyCLIPTextModel(source)
    states = model.hidden_states_before(builder.token_ids(["a fox", "a fox in the style of ink"]), 0)
    prompts, positions = torch.cartesian_prod(torch.arange(2), torch.arange(4)).T
    short, long = model.attention(0).keys(states, TokenPositions(prompts, positions)).split(4)
    torch.testing.assert_close(short, long, atol=1e-14, rtol=0)
