"""Activations of a model: seen as maps while it runs, or recorded to disk with labels."""

from editor.features.activations.capture import capture
from editor.features.activations.record import record
from editor.features.activations.store import ActivationStore

__all__ = ["ActivationStore", "capture", "record"]
