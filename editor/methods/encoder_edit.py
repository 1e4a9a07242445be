"""Remove concepts from a text encoder: one closed-form solve for each edited layer."""

from collections.abc import Sequence

from torch import Tensor

from editor.checkpoints import OutputProjection, TextEncoder
from editor.checkpoints.tensor_update import make_tensor_update
from editor.io.progress import track
from editor.methods.adjustments import NO_ADJUSTMENTS, SolveAdjustments
from editor.methods.config import DEFAULT_METHOD, MethodConfig, spread_layers
from editor.methods.layer_edit import LayerEdit
from editor.methods.prepare_removals import prepare_removals
from editor.methods.registry import SOLVERS
from editor.methods.solution import Solution
from editor.methods.tensor_edits import TensorEdit, make_record
from editor.prompts import PromptBuilder, ResolvedRemoval
from editor.sites.key_value_pairs import Site, open_site
from editor.sites.lazy_clip import LazyCLIPTextModel
from editor.solver.tensor_cache import NULL_CACHE, TensorCache


def edit_encoder(
    source: TextEncoder,
    builder: PromptBuilder,
    removals: Sequence[ResolvedRemoval],
    method: MethodConfig = DEFAULT_METHOD,
    cache: TensorCache = NULL_CACHE,
    report_on: Sequence[ResolvedRemoval] = (),
    adjustments: SolveAdjustments = NO_ADJUSTMENTS,
) -> list[TensorEdit]:
    """Remove all ``removals`` from one text encoder together; their order does not matter.

    Args:
        source: the text encoder, opened lazily.
        builder: builds its prompts.
        removals: the concepts to remove.
        method: the settings.
        cache: stores the first layer's statistics between solves; those of later layers depend on the whole set.
        report_on: removals whose feasibility is reported; if empty, a sample.
        adjustments: what a closed loop strengthens or weakens.

    Returns:
        An exact low-rank update for each edited map, in the order of the forward pass. Maps after the first one correct what it
        left and what it spoiled.

    Raises:
        ConceptError: a prompt does not fit the context.
        SolveError: the pinned prompts leave no direction to edit.
    """
    source.prefetch_tensors()
    composed, reported = prepare_removals(removals, report_on, builder, adjustments)
    method = spread_layers(method, composed, source.layers)
    model, projections = LazyCLIPTextModel(source), output_projections(method, adjustments.layers or method.layers)
    updates: dict[OutputProjection, Tensor] = {}
    edits = []
    for projection in track(projections):
        site = open_site(model, updates, projection)
        edit = LayerEdit(site, builder, composed, method, NULL_CACHE if updates else cache, reported, adjustments)
        solution = SOLVERS[method.name](edit)
        if projection != projections[-1]:
            updates[projection], method = solution.up @ solution.down, method.for_later_maps
        edits.append(make_tensor_edit(site, edit, solution))
    return edits


def output_projections(method: MethodConfig, layers: Sequence[int]) -> list[OutputProjection]:
    """Return the maps to edit in some layers, in the order of the forward pass."""
    parts = (False, True) if method.edits_mlps else (False,)
    return [OutputProjection(layer, of_mlp) for layer in layers for of_mlp in parts]


def make_tensor_edit(site: Site, edit: LayerEdit, solution: Solution) -> TensorEdit:
    """Return the update of the site's tensor, and its record."""
    projection = site.projection
    stored = site.base.stored_weight(projection)
    update = make_tensor_update(site.base.source, projection.weight_name, solution.up, solution.down, stored)
    place = {"layer": projection.layer, "of_mlp": projection.of_mlp}
    return TensorEdit(update, make_record(edit, solution, [update]).model_copy(update=place))
