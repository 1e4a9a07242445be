"""Publish an edit: delta, LoRA and full weights, the model card, the figures, the report, and the signature on it all."""
