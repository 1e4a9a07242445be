"""Diff-C: a classifier on the activations of one module of a diffusion backbone (Kim et al. 2025, "Revelio", section 5)."""

from editor.features.diffc.inference import class_probability, probabilities
from editor.features.diffc.model import DiffusionClassifier, load_diffc
from editor.features.diffc.training import train_diffc

__all__ = ["DiffusionClassifier", "class_probability", "load_diffc", "probabilities", "train_diffc"]
