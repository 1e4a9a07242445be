"""What an edit needs to know of a site, whatever kind of site it is."""

from collections.abc import Sequence
from typing import Protocol, Self

from torch import Tensor

from editor.prompts import PromptPair, TokenizedPrompt
from editor.sites.key_value_pairs import Aim
from editor.solver.regression import RegressionRows, RetainedKeys
from editor.solver.risk_curves import RiskCurves


class EditSite(Protocol):
    """A linear map to edit, or several that read the same keys. ``str(site)`` names it in files."""

    @property
    def width(self) -> int:
        """Width of a key, d."""

    @property
    def norm_weight(self) -> Tensor:
        """The map (o, d) float32 that the size of a change is measured with."""

    @property
    def value_map(self) -> Tensor | None:
        """The map (o, d) float64 from residuals in the space of the keys to that of the values; None: they are in it."""

    @property
    def relative_ridge(self) -> float:
        """Lambda of the regression, relative to the mean eigenvalue of the keys' second moment."""

    @property
    def effect_tolerance(self) -> float | None:
        """Share of the effect on keys that low-rank factors may leave out; None: they are cut by the update's own size."""

    @property
    def max_retain_prompts(self) -> int:
        """Most prompts to retain."""

    @property
    def follows_edits(self) -> bool:
        """Whether earlier layers were edited, whose errors this site's edit makes up for."""

    @property
    def risk_curves(self) -> RiskCurves:
        """What distances of the outputs say about images."""

    def prefetch(self, prompts: Sequence[TokenizedPrompt]) -> None:
        """Compute what the keys of many prompts have in common in one batch."""

    def protected_keys(self, null: TokenizedPrompt, pins: Sequence[TokenizedPrompt]) -> tuple[Tensor, Tensor]:
        """Return the float64 keys of the empty prompt, (n, d), and those of pinned prompts, (m, d)."""

    def rows(self, pairs: Sequence[PromptPair], aim: Aim) -> RegressionRows:
        """Return the regression rows of prompt pairs."""

    def retained(self, prompts: Sequence[TokenizedPrompt]) -> RetainedKeys:
        """Return the keys of prompts to retain."""

    def template(self, prompts: Sequence[TokenizedPrompt]) -> Self:
        """Return the site with a cache of these prompts and nothing else."""

    def isolated(self, pairs: Sequence[PromptPair]) -> Self:
        """Return the site with a cache that depends on its own cache and these pairs alone."""
