"""Open a base model lazily: what is where, and only the tensors that are asked for."""

from editor.checkpoints.folder import TextEncoderFile, open_text_encoder

__all__ = ["TextEncoderFile", "open_text_encoder"]
