import pytest
import torch
from transformers import CLIPTextModel

from editor.checkpoints import TextEncoder
from editor.prompts import PromptBook
from editor.sites.clip_attention import Places
from editor.sites.lazy_clip import Tower, everywhere

TEXTS = ["", "a fox", "an image of a lady beetle, noto style on a blue background"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layer", [0, 2])
def test_keys_are_what_transformers_feeds_out_proj(
    layer: int, dtype: torch.dtype, source: TextEncoder, encoder: CLIPTextModel, book: PromptBook
) -> None:
    seen: list[torch.Tensor] = []
    projection = encoder.encoder.layers[layer].self_attn.out_proj
    handle = projection.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    ids = book.ids(TEXTS)
    with torch.no_grad():
        encoder(ids)
    handle.remove()
    tower = Tower(source) if dtype is torch.float32 else Tower(source).exact()
    states = tower.entering(ids, layer)
    keys = tower.attention(layer).keys(states, everywhere(states.index))
    assert keys.dtype == dtype
    torch.testing.assert_close(keys.reshape(seen[0].shape).float(), seen[0], atol=1e-5, rtol=1e-5)


def test_final_states_are_those_of_transformers(source: TextEncoder, encoder: CLIPTextModel, book: PromptBook) -> None:
    ids = book.ids(TEXTS)
    with torch.no_grad():
        expected = encoder(ids).last_hidden_state
    torch.testing.assert_close(Tower(source).final(ids).float(), expected, atol=1e-5, rtol=1e-5)


def test_an_updated_projection_acts_like_an_edited_encoder(
    source: TextEncoder, encoder: CLIPTextModel, book: PromptBook
) -> None:
    ids, delta = book.ids(TEXTS), 0.1 * torch.randn(64, 64, dtype=torch.float64)
    weight = encoder.encoder.layers[1].self_attn.out_proj.weight
    with torch.no_grad():
        weight += delta
        expected = encoder(ids).last_hidden_state
        weight -= delta
    torch.testing.assert_close(Tower(source).edited({1: delta}).final(ids).float(), expected, atol=1e-5, rtol=1e-4)


def test_keys_at_some_places_are_those_among_all(source: TextEncoder, book: PromptBook) -> None:
    tower, ids = Tower(source).exact(), book.ids(["a fox", "an owl in the style of ink", "a pizza"] * 40)
    states = tower.entering(ids, 0)
    every = tower.attention(0).keys(states, everywhere(states.index)).reshape(*ids.shape, -1)
    rows = torch.tensor([0, 0, 3, 64, 64, 64, 119])
    positions = torch.tensor([5, 2, 1, 23, 0, 7, 9])
    some = tower.attention(0).keys(states, Places(rows, positions))
    torch.testing.assert_close(some, every[rows, positions], atol=1e-12, rtol=0)


def test_keys_depend_on_leading_context_only(source: TextEncoder, book: PromptBook) -> None:
    tower = Tower(source)
    states = tower.entering(book.ids(["a fox", "a fox in the style of ink"]), 0)
    rows, positions = torch.cartesian_prod(torch.arange(2), torch.arange(4)).T
    short, long = tower.attention(0).keys(states, Places(rows, positions)).split(4)
    torch.testing.assert_close(short, long, atol=1e-14, rtol=0)
