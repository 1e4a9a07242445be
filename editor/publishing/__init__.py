"""Publish an edit: delta, LoRA, full weights, model card, figures, report and attestation."""
