"""Which names of a concept an edit covers: those that are about as far gone as the concept itself."""

from collections.abc import Mapping

from torch import Tensor

from editor.checkpoints import TextEncoder
from editor.prompts import PromptBuilder, ResolvedRemoval
from editor.prompts.name_expansion import ConceptName
from editor.sites.key_value_pairs import Aim, Site, regression_rows
from editor.sites.lazy_clip import LazyCLIPTextModel

COVERAGE_TOLERANCE = 0.1
"""A covered name keeps at most this much more of its distance to the destination than the concept's own name keeps."""


def covered_names(
    source: TextEncoder, builder: PromptBuilder, deltas: Mapping[int, Tensor], removal: ResolvedRemoval, aim: Aim
) -> list[ConceptName]:
    """Return the names of a removal that the updates of a text encoder cover, the concept's own first.

    Args:
        source: the text encoder.
        builder: builds its prompts.
        deltas: layer -> dW. The last layer's decides, as it is solved with the others applied.
        removal: the removal.
        aim: the activation that the updates match.
    """
    model, layer = LazyCLIPTextModel(source), max(deltas)
    earlier = {index: delta for index, delta in deltas.items() if index < layer}
    site = Site(model, model.with_updates(earlier), layer)
    names = builder.expand(removal).names
    remaining = {name: remaining_share(site, builder, deltas[layer], removal, name, aim) for name in names}
    return [name for name in names if remaining[name] <= remaining[names[0]] + COVERAGE_TOLERANCE]


def remaining_share(
    site: Site, builder: PromptBuilder, delta: Tensor, removal: ResolvedRemoval, name: ConceptName, aim: Aim
) -> float:
    """Return the share of a name's squared distance to its destination that remains after an update; 1 without prompts."""
    pairs = builder.name_pairs(removal, name)
    if not pairs:
        return 1.0
    rows = regression_rows(site, pairs, aim)
    initial = (rows.residuals.square().sum(1) * rows.weights).sum()
    return float((rows.squared_residuals(lambda keys: keys @ delta.T) * rows.weights).sum() / initial)
