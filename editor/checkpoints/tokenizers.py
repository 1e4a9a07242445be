"""The tokenizer of an encoder: the checkpoint's own."""

from typing import Any

from editor.checkpoints.encoder import TextEncoder


def open_tokenizer(encoder: TextEncoder) -> Any:
    """A ``CLIPTokenizer`` padded to the encoder's context as the encoder's pipeline pads."""
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(encoder.tokenizer_folder)
