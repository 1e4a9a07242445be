"""Curves that turn distances in text space into what images show, fitted to images of the embedded models."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RiskCurve:
    """A logistic curve."""

    midpoint: float
    """The distance at which the probability is one half."""
    steepness: float

    def __call__(self, distance: Tensor) -> Tensor:
        """Return the probability at each distance."""
        return torch.sigmoid(self.steepness * (distance - self.midpoint))


@dataclass(frozen=True)
class RiskCurves:
    """The curves of one kind of site."""

    missed: RiskCurve
    """That a removed concept's image does not show the destination, by the output's distance from the destination's, relative
    to that one."""
    spoiled: RiskCurve
    """That a retained image does not show what it did, by the relative change of the output."""
    found: RiskCurve
    """That a removed concept's image still shows it, by the share of the distance to the destination that remains."""


CLIP_CURVES = RiskCurves(RiskCurve(0.5, 11.0), RiskCurve(0.5, 11.0), RiskCurve(0.79, 13.0))
"""Fitted to 8,148 images of `emoji`, of edits of the first layer that remove 1 to 50 objects with up to ten preservation
weights each. One curve fits missed destinations and spoiled images."""
TEXT_GATE_CURVES = RiskCurves(RiskCurve(0.79, 11.0), RiskCurve(0.82, 10.0), RiskCurve(0.8, 19.0))
"""Fitted to 7,200 images of `emoji-dit`, of edits of its text gate and its CLIP encoder that remove one object, ten objects or
one style, with six preservation weights each. An image that shows another style counts as missed or spoiled where a style is
removed. An MMDiT tolerates larger changes of the rows that it reads."""
