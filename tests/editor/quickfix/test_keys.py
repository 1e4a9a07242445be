import torch
from transformers import CLIPTextModel

from editor.checkpoints import TextEncoder
from editor.prompts import PromptBook
from editor.quickfix.keys import open_first_layer

TEXTS = ["", "a fox", "an image of a lady beetle, noto style on a blue background"]


def test_keys_are_what_transformers_feeds_out_proj(
    source: TextEncoder, encoder: CLIPTextModel, book: PromptBook
) -> None:
    seen: list[torch.Tensor] = []
    projection = encoder.encoder.layers[0].self_attn.out_proj
    handle = projection.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        encoder(book.ids(TEXTS))
    handle.remove()
    keys = open_first_layer(source).keys(book.ids(TEXTS))
    assert keys.dtype == torch.float64
    torch.testing.assert_close(keys.float(), seen[0], atol=1e-5, rtol=1e-5)


def test_keys_depend_on_leading_context_only(source: TextEncoder, book: PromptBook) -> None:
    layer = open_first_layer(source)
    short, long = layer.keys(book.ids(["a fox", "a fox in the style of ink"]))
    torch.testing.assert_close(short[:4], long[:4], atol=1e-14, rtol=0)
