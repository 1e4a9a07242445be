"""Forecast what each of several replacements of a concept would change in other prompts, without solving for each.

The keys of the concept's prompts are the same for every replacement, and with them all of the update but its residuals R:
``dW k = R (A K^T (K A K^T + C + ridge)^-1 k)``. The bracket is computed once, for a few prompts to retain.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from editor.checkpoints import TextEncoder
from editor.prompts import PromptBuilder, ResolvedRemoval
from editor.prompts.concepts import Destination
from editor.prompts.prompt_builder import destination_text
from editor.prompts.templates import evenly_spaced
from editor.sites.key_value_pairs import Site, regression_rows, retained_keys
from editor.sites.lazy_clip import LazyCLIPTextModel
from editor.solver.least_squares import cholesky
from editor.solver.normal_equations import RELATIVE_RIDGE

CONTEXTS = 4
"""Prompts about the concept that the forecast is computed from."""
RETAIN_PROMPTS = 64
"""Prompts to retain that the change is forecast for."""


@dataclass(frozen=True)
class ReplacementForecast:
    """Forecasts replacements of the concepts that a request removes from one text encoder."""

    source: TextEncoder
    builder: PromptBuilder
    removals: Sequence[ResolvedRemoval]

    @cached_property
    def site(self) -> Site:
        """The first layer's attention output."""
        model = LazyCLIPTextModel(self.source)
        return Site(model, model, 0)

    @cached_property
    def retained(self) -> tuple[Tensor, Tensor]:
        """The keys of retain prompts (n, d) and the norms of their values, (n,)."""
        phrases = self.builder.retain_phrases(self.removals)
        prompts = self.builder.tokenize_all(self.builder.retain_texts(phrases, RETAIN_PROMPTS))
        keys = retained_keys(self.site, prompts).keys
        return keys, (keys @ self.site.weight.T).norm(dim=1)

    def changes(self, removal: ResolvedRemoval, names: Sequence[str]) -> list[float]:
        """Return the mean relative change of the retained prompts for each name as replacement of a concept."""
        contexts = evenly_spaced(self.builder.contexts("object", removal.concept.subject), CONTEXTS)
        texts = [
            (phrase.text(), destination_text(phrase, replace(removal, destination=Destination(name, "auto"))))
            for name in names
            for phrase in contexts
        ]
        rows = regression_rows(self.site, self.builder.make_pairs(removal.concept.subject, texts), "attention")
        retained, norms = self.retained
        moment = rows.keys.T @ rows.keys + retained.T @ retained
        moment.diagonal().add_(RELATIVE_RIDGE * float(moment.trace()) / len(moment))
        influence = rows.keys @ torch.cholesky_solve(retained.T, cholesky(moment))
        owners = rows.pair_index // len(contexts)
        return [
            float(((rows.residuals[own].T @ influence[rows.key_index[own]]).norm(dim=0) / norms).mean())
            for own in (owners == index for index in range(len(names)))
        ]
