"""The judge as read-out of text space: a linear map from the encoder's states to the judge's embedding of the same prompt.

Fitted by ridge regression on clean retain and concept prompts, it gives a site's effect in the judge's terms, the cosine of
a state's image in the judge's space and the class in question, without drawing anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from editor.judging.judge import Judge

RIDGE = 1e-2
"""Relative to the mean eigenvalue of the states' second moment."""


@dataclass(frozen=True)
class ReadOut:
    """A linear map ``(d + 1, judge width)``, float64; its last row is the constant."""

    matrix: Tensor

    def embed(self, hidden: Tensor, ends: Tensor) -> Tensor:
        """States ``(n, length, d)`` and EOS positions ``(n,)`` -> unit embeddings ``(n, judge width)``."""
        return F.normalize(summary(hidden, ends) @ self.matrix, dim=1)


def summary(hidden: Tensor, ends: Tensor) -> Tensor:
    """What the UNet sees of a prompt, in one row: mean of the states from the first word to EOS, and a constant."""
    places = torch.arange(hidden.shape[1])
    words = ((places > 0) & (places <= ends[:, None])).double()[:, :, None]
    mean = (hidden.double() * words).sum(1) / words.sum(1)
    return torch.cat([mean, torch.ones(len(mean), 1, dtype=torch.float64)], dim=1)


def fit(judge: Judge, hidden: Tensor, ends: Tensor, texts: Sequence[str]) -> ReadOut:
    """Ridge regression of the judge's embeddings of ``texts`` on their states."""
    states, wanted = summary(hidden, ends), judge.texts(texts).double()
    moment = states.T @ states
    moment.diagonal().add_(RIDGE * float(moment.trace()) / len(moment))
    return ReadOut(torch.linalg.solve(moment, states.T @ wanted))
