"""The embedded model: weights, judge, artwork and vocabulary. How they are made is in `research.emoji`."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
"""The model, in diffusers' folder layout."""
JUDGE = Path(__file__).parent / "judge"
"""The CLIP model that judges its images."""
FEATURES = Path(__file__).parent / "features"
"""Sparse autoencoders, Diff-C classifiers and the IP-Adapter, each in a folder of its own."""
