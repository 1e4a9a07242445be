"""The embedded model: how its data and weights are made, and the weights."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
"""The model, in diffusers' folder layout."""
JUDGE = Path(__file__).parent / "judge"
"""The CLIP that judges it."""
