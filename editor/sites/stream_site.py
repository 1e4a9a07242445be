"""Sites of a denoiser: the linear maps that read a stream of text, edited together by one solution."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from api_schemas.edits import SiteName
from editor.prompts import PromptPair, TokenizedPrompt
from editor.sites.clip_attention import TokenPositions
from editor.sites.key_value_pairs import Aim
from editor.sites.shared_weights import SharedWeights
from editor.sites.streams import Stream
from editor.solver.regression import RegressionRows, RetainedKeys
from editor.solver.risk_curves import CLIP_CURVES, RiskCurves

STREAM_RIDGE = 1e-3
"""Lambda relative to the mean eigenvalue of the keys' second moment. Final states are nearly equal along most directions: with
the ridge of an attention's output, an update is seven times as large for the same effect, too large for 16-bit weights."""
RETAIN_PROMPTS = 600
"""Fewer than for an attention's output, because each passes a whole encoder."""
EFFECT_TOLERANCE = 0.05
"""Part of the effect that low-rank factors leave out; it was measured to change no forecast by more than 0.002."""


@dataclass(frozen=True)
class StreamSite:
    """One kind of site of a denoiser; see `editor.sites.edit_site.EditSite`.

    Its rows are in the space of the stream: a residual is the difference of two rows of the stream.
    """

    name: SiteName
    stream: Stream
    weights: SharedWeights
    risk_curves: RiskCurves = CLIP_CURVES
    """See `EditSite`."""

    def __str__(self) -> str:
        """Return a name for files."""
        return f"{self.weights.denoiser.component}-{self.name}"

    @property
    def width(self) -> int:
        """See `EditSite`."""
        return self.stream.width

    @cached_property
    def norm_weight(self) -> Tensor:
        """See `EditSite`."""
        return self.weights.root.float()

    @property
    def value_map(self) -> Tensor:
        """See `EditSite`."""
        return self.weights.root

    @property
    def relative_ridge(self) -> float:
        """See `EditSite`."""
        return STREAM_RIDGE

    @property
    def effect_tolerance(self) -> float:
        """See `EditSite`."""
        return EFFECT_TOLERANCE

    @property
    def max_retain_prompts(self) -> int:
        """See `EditSite`."""
        return RETAIN_PROMPTS

    @property
    def follows_edits(self) -> bool:
        """See `EditSite`. A stream is read from the unedited encoder."""
        return False

    def prefetch(self, prompts: Sequence[TokenizedPrompt]) -> None:
        """See `EditSite`."""
        self.stream.prefetch(prompts)

    def protected_keys(self, null: TokenizedPrompt, pins: Sequence[TokenizedPrompt]) -> tuple[Tensor, Tensor]:
        """See `EditSite`."""
        alone = self.stream.exact()
        null_keys, *pinned = (protected_rows(alone, prompt) for prompt in (null, *pins))
        repeated = int(alone.repeats_first)
        return null_keys, torch.cat([null_keys[:0], *(keys[repeated:] for keys in pinned)])

    def rows(self, pairs: Sequence[PromptPair], aim: Aim) -> RegressionRows:
        """See `EditSite`. There is one aim: that the values of the concept's rows become those of the destination's."""
        aligned = [(index, token) for index, pair in enumerate(pairs) for token in self.stream.align(pair)]
        pair_index = torch.tensor([index for index, _ in aligned])
        at, target_at = (
            TokenPositions(pair_index, torch.tensor([getattr(token, side) for _, token in aligned]))
            for side in ("key", "value")
        )
        self.prefetch([side for pair in pairs for side in (pair.concept, pair.destination)])
        keys, key_index = self.stream.rows([pair.concept for pair in pairs], at)
        targets, target_index = self.stream.rows([pair.destination for pair in pairs], target_at)
        residuals = targets[target_index].double() - keys[key_index].double()
        weights = torch.tensor([token.weight * pairs[index].weight for index, token in aligned], dtype=torch.float64)
        return RegressionRows(keys.double(), key_index, residuals, weights, pair_index)

    def retained(self, prompts: Sequence[TokenizedPrompt]) -> RetainedKeys:
        """See `EditSite`."""
        rows = [
            (index, position, weight / len(positions))
            for index, prompt in enumerate(prompts)
            for positions, weight in self.stream.retained_positions(prompt)
            for position in positions
        ]
        prompt_index, positions, weights = (torch.tensor(column) for column in zip(*rows, strict=True))
        keys, key_index = self.stream.rows(prompts, TokenPositions(prompt_index, positions))
        return RetainedKeys(keys.double(), key_index, weights.double(), prompt_index)

    def template(self, prompts: Sequence[TokenizedPrompt]) -> "StreamSite":
        """See `EditSite`. Rows depend on all tokens before them, so templates have nothing to share."""
        return replace(self, stream=self.stream.without_cache())

    def isolated(self, pairs: Sequence[PromptPair]) -> "StreamSite":
        """See `EditSite`."""
        return replace(self, stream=self.stream.without_cache())


def protected_rows(stream: Stream, prompt: TokenizedPrompt) -> Tensor:
    """Return the rows of a prompt that can be kept unchanged, (n, d) float64."""
    positions = torch.tensor(stream.protected_positions(prompt))
    rows, index = stream.rows([prompt], TokenPositions.of_one_prompt(positions))
    return rows[index].double()
