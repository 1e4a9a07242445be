"""The embedded model: weights, judge, artwork and vocabulary. It is trained by `research.emoji`."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
"""Folder of the model, in diffusers' layout."""
DIT_WEIGHTS = Path(__file__).parent / "dit_weights"
"""Folder of `emoji-dit`, the same model with a FLUX-class denoiser."""
JUDGE = Path(__file__).parent / "judge"
"""Folder of the CLIP model that judges its images."""
FEATURES = Path(__file__).parent / "features"
"""Folders of the sparse autoencoders, the Diff-C classifiers and the IP-Adapter."""
