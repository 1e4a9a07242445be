"""Remove concepts at the sites of a denoiser: one closed-form solve for each stream of text that it reads."""

from collections.abc import Sequence

from editor.io.progress import track
from editor.methods.adjustments import NO_ADJUSTMENTS, SolveAdjustments
from editor.methods.config import DEFAULT_METHOD, MethodConfig
from editor.methods.layer_edit import LayerEdit
from editor.methods.prepare_removals import prepare_removals
from editor.methods.registry import SOLVERS
from editor.methods.tensor_edits import SharedEdit, make_record
from editor.prompts import PromptBuilder, ResolvedRemoval
from editor.sites.prompt_encoder import release_encoder
from editor.sites.stream_site import StreamSite
from editor.solver.tensor_cache import NULL_CACHE, TensorCache


def edit_denoiser(
    sites: Sequence[StreamSite],
    builder: PromptBuilder,
    removals: Sequence[ResolvedRemoval],
    method: MethodConfig = DEFAULT_METHOD,
    cache: TensorCache = NULL_CACHE,
    report_on: Sequence[ResolvedRemoval] = (),
    adjustments: SolveAdjustments = NO_ADJUSTMENTS,
) -> list[SharedEdit]:
    """Remove all ``removals`` at some sites of a denoiser together; their order does not matter.

    Args:
        sites: the sites. Their streams are those of the unedited text encoders.
        builder: builds the prompts.
        removals: the concepts to remove.
        method: the settings.
        cache: stores statistics between the solves of a ledger.
        report_on: removals whose feasibility is reported; if empty, a sample.
        adjustments: what a closed loop strengthens or weakens.

    Returns:
        One solution for each site, with the updates of its tensors.

    Raises:
        ConceptError: a prompt does not fit the context.
        SolveError: the pinned prompts leave no direction to edit.
    """
    composed, reported = prepare_removals(removals, report_on, builder, adjustments)
    try:
        return [
            edit_site(site, LayerEdit(site, builder, composed, method, cache, reported, adjustments))
            for site in track(sites)
        ]
    finally:
        release_encoder()


def edit_site(site: StreamSite, edit: LayerEdit) -> SharedEdit:
    """Solve for one site, and return the updates of all its tensors."""
    solution = SOLVERS[edit.method.name](edit)
    factors = site.weights.to_stream_space(solution.up), solution.down
    updates = site.weights.updates(*factors)
    record = make_record(edit, solution, updates)
    return SharedEdit(factors, updates, record.model_copy(update={"site": site.name, "layer_choice": "as requested"}))
