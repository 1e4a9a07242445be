"""Activations of a model: captured as maps while it runs, or recorded to disk with labels."""

from editor.features.activations.hooks import capture
from editor.features.activations.recorder import record
from editor.features.activations.store import ActivationStore

__all__ = ["ActivationStore", "capture", "record"]
