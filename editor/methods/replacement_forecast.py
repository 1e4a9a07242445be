"""Forecast what each of several replacements of a concept would do.

What it would change in other prompts is forecast without solving for each. The keys of the concept's prompts are the same for
every replacement, and with them all of the update but its residuals R: ``dW k = R (A K^T (K A K^T + C + ridge)^-1 k)``. The
bracket is computed once, for a few prompts to retain. Whether the prompts would reach the replacement, too, takes a solve:
some names are farther from a concept than others that change as little.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from editor.methods.config import DEFAULT_METHOD
from editor.methods.default import search_preservation
from editor.methods.layer_edit import LayerEdit
from editor.prompts import PromptBuilder, ResolvedRemoval
from editor.prompts.concepts import Destination
from editor.prompts.prompt_builder import destination_text
from editor.prompts.templates import evenly_spaced
from editor.sites.edit_site import EditSite
from editor.solver.least_squares import cholesky
from editor.solver.normal_equations import RELATIVE_RIDGE
from editor.solver.tensor_cache import MemoryCache

CONTEXTS = 4
"""Prompts about the concept that the forecast is computed from."""
RETAIN_PROMPTS = 64
"""Prompts to retain that the change is forecast for."""


@dataclass(frozen=True)
class ReplacementForecast:
    """Forecasts replacements of the concepts that a request removes, at one site."""

    site: EditSite
    builder: PromptBuilder
    removals: Sequence[ResolvedRemoval]
    cache: MemoryCache = field(default_factory=MemoryCache, repr=False)
    """What the searches for several replacements have in common."""

    @cached_property
    def retained(self) -> tuple[Tensor, Tensor]:
        """The keys of retain prompts (n, d) and the norms of their values, (n,)."""
        phrases = self.builder.retain_phrases(self.removals)
        prompts = self.builder.tokenize_all(self.builder.retain_texts(phrases, RETAIN_PROMPTS))
        keys = self.site.retained(prompts).keys
        return keys, (keys @ self.site.norm_weight.double().T).norm(dim=1)

    def changes(self, removal: ResolvedRemoval, names: Sequence[str]) -> list[float]:
        """Return the mean relative change of the retained prompts for each name as replacement of a concept."""
        contexts = evenly_spaced(self.builder.contexts("object", removal.concept.subject), CONTEXTS)
        texts = [
            (phrase.text(), destination_text(phrase, replace(removal, destination=Destination(name, "auto"))))
            for name in names
            for phrase in contexts
        ]
        rows = self.site.rows(self.builder.make_pairs(removal.concept.subject, texts), "attention")
        retained, norms = self.retained
        moment = rows.keys.T @ rows.keys + retained.T @ retained
        moment.diagonal().add_(RELATIVE_RIDGE * float(moment.trace()) / len(moment))
        residuals = rows.residuals if self.site.value_map is None else rows.residuals @ self.site.value_map.T
        influence = rows.keys @ torch.cholesky_solve(retained.T, cholesky(moment))
        owners = rows.pair_index // len(contexts)
        return [
            float(((residuals[own].T @ influence[rows.key_index[own]]).norm(dim=0) / norms).mean())
            for own in (owners == index for index in range(len(names)))
        ]

    def costs(self, removal: ResolvedRemoval, names: Sequence[str]) -> list[float]:
        """Return the held-out cost of removing a concept alone, with each name as its replacement."""
        return [self._cost(replace(removal, destination=Destination(name, "auto"))) for name in names]

    def _cost(self, removal: ResolvedRemoval) -> float:
        edit = LayerEdit(self.site, self.builder, (removal,), DEFAULT_METHOD, self.cache)
        edit.prefetch()
        return search_preservation(edit)[1].best.cost
