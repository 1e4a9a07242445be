"""The edit phase: solve for the updates of every text encoder, alone or together with a ledger."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from safetensors.torch import save

from api_schemas.conflicts import Conflict
from api_schemas.edits import EditRequest
from api_schemas.report import NameRecord, RemovalRecord, ReplacementCandidate, SolveRecord, TraceRecord
from editor.checkpoints import Checkpoint, TextEncoder
from editor.io.progress import step, track
from editor.jobs.forecast import (
    MAX_FORECAST_PROMPTS,
    edits_of,
    find_request_conflicts,
    forecast_changes,
    shared_edits,
    solve_denoiser,
    solve_encoders,
    update_by_projection,
)
from editor.jobs.model import Model
from editor.jobs.results import EditResult
from editor.ledger import Ledger, LedgerEntry, LedgerFolder, all_active_removals
from editor.methods.adjustments import NO_ADJUSTMENTS, SolveAdjustments
from editor.methods.config import MethodConfig, method_from_options
from editor.methods.name_coverage import covered_names
from editor.methods.tensor_edits import MAX_LISTED_PROMPTS, Edit
from editor.prompts import PromptBuilder, ResolvedRemoval, pair_encoders
from editor.prompts.name_expansion import ConceptName
from editor.sites.final_states import EncoderUpdates

if TYPE_CHECKING:
    from editor.judging.judge import Judge


UpdatedEncoder = tuple[TextEncoder, PromptBuilder, EncoderUpdates]
"""A text encoder, its prompt builder, and the updates of its maps."""


@dataclass(frozen=True)
class LedgerJoin:
    """A ledger, and the removals that a request adds to it."""

    folder: LedgerFolder
    entries: list[LedgerEntry]

    def with_adjustments(self, adjustments: SolveAdjustments) -> "LedgerJoin":
        """Return the same with what a closed loop changed, for each removal what concerns it."""
        entries = [
            entry.with_changes(
                parameters=entry.parameters.model_copy(update={"adjustments": adjustments_of(adjustments, entry)})
            )
            for entry in self.entries
        ]
        return LedgerJoin(self.folder, entries)

    def updated_ledger(self, checkpoint: Checkpoint) -> tuple[Ledger, list[Conflict]]:
        """Return the ledger with the request's removals, and warnings about them. Nothing is written.

        Raises:
            LedgerConflict: the removals contradict active ones.
        """
        return self.folder.preview_add(checkpoint, self.entries)


def adjustments_of(adjustments: SolveAdjustments, entry: LedgerEntry) -> SolveAdjustments:
    """Return adjustments without those of other removals, and without layers, which a ledger does not choose."""
    key = (entry.removal.kind, entry.removal.concept)
    own = tuple(one for one in adjustments.removals if (one.kind, one.concept) == key)
    return adjustments.model_copy(update={"removals": own, "layers": None})


def pack_factors(edits: Sequence[Edit]) -> bytes:
    """Serialize the low-rank factors of updates, in order."""
    sides = [
        (f"{i}.{side}", factor)
        for i, e in enumerate(edits)
        for side, factor in zip(("up", "down"), e.factors, strict=True)
    ]
    return save({name: factor.contiguous() for name, factor in sides})


def run_edit(
    request: EditRequest,
    model: Model,
    removals: Sequence[ResolvedRemoval],
    traces: Sequence[TraceRecord],
    joined: LedgerJoin | None,
    judge: "Judge | None",
    candidates: Sequence[list[ReplacementCandidate]] = (),
    adjustments: SolveAdjustments = NO_ADJUSTMENTS,
) -> EditResult:
    """Solve for the updates of every text encoder.

    Args:
        traces: select the layers if the request leaves them to the trace.
        joined: the ledger whose active removals are solved together with the request's.
        judge: finds the nearest neighbours of each concept; without one the records list none.
        adjustments: what the closed loop changed; those of a ledger's removals are in its entries.
        candidates: the automatic replacements that were compared for each removal, for its record.
    """
    with step(0.0, 0.8):
        edits: list[Edit]
        if joined:
            ledger, warnings = joined.updated_ledger(model.checkpoint)
            edits = joined.folder.solve(ledger, model.checkpoint, joined.entries)
            removed = all_active_removals(removals, joined.entries, ledger, model.prompts)
        else:
            ledger, warnings, removed = None, find_request_conflicts(request, model.prompts), list(removals)
            choose_method = partial(select_method, request, traces)
            place = model.checkpoint, model.prompt_builders, removals
            edits = [
                *solve_encoders(*place, choose_method, adjustments),
                *solve_denoiser(*place, request.options, adjustments),
            ]
    with step(0.8, 0.1):
        compared, updated = candidates or [[] for _ in removals], updated_encoders(model, edits)
        records = [
            removal_record(request, model, removal, removed, updated, judge).model_copy(update={"candidates": own})
            for removal, own in track(list(zip(removals, compared, strict=True)))
        ]
    with step(0.9, 0.1):
        solves = add_forecasts(model, edits, removed)
    return EditResult(removals=records, solves=solves, factors=pack_factors(edits), ledger=ledger, warnings=warnings)


def select_method(request: EditRequest, traces: Sequence[TraceRecord], encoder: TextEncoder) -> MethodConfig:
    """Return the method that the request asks for, with the layers of a text encoder to edit."""
    requested = request.options.layers
    if requested == "auto":
        from editor.tracing.layer_selection import select_layers

        layers, reason = select_layers([trace for trace in traces if trace.component == encoder.component])
    else:
        layers, reason = tuple(requested), "as requested"
    return method_from_options(request.options, layers, reason)


def add_forecasts(model: Model, edits: Sequence[Edit], removed: Sequence[ResolvedRemoval]) -> list[SolveRecord]:
    """Return the solve records, with the forecast changes of held-out retain prompts."""
    records = []
    for encoder, builder in track(pair_encoders(model.checkpoint, model.prompt_builders)):
        own = edits_of(encoder, edits)
        if not own:
            continue
        prompts = builder.held_out_retain_texts(builder.retain_phrases(removed), MAX_FORECAST_PROMPTS)
        foreseen = forecast_changes(encoder, builder, own, prompts, quick=True)[:MAX_LISTED_PROMPTS]
        records += [edit.record.model_copy(update={"foreseen": foreseen}) for edit in own]
    return records + [edit.record for edit in shared_edits(edits)]


def updated_encoders(model: Model, edits: Sequence[Edit]) -> list[UpdatedEncoder]:
    """Return the edited text encoders."""
    return [
        (encoder, builder, update_by_projection(own))
        for encoder, builder in pair_encoders(model.checkpoint, model.prompt_builders)
        if (own := edits_of(encoder, edits))
    ]


def removal_record(
    request: EditRequest,
    model: Model,
    removal: ResolvedRemoval,
    removed: Sequence[ResolvedRemoval],
    updated: Sequence[UpdatedEncoder],
    judge: "Judge | None",
) -> RemovalRecord:
    """Describe a removal for the report."""
    prompts = model.prompts
    released = request.options.method == "diff_quickfix"
    pairs = prompts.diff_quickfix_pairs(removal) if released else prompts.edit_pairs(removal)
    covered = covered_by_all_encoders(request, model, removal, updated)
    names = prompts.expand(removal).names
    return RemovalRecord(
        concept=removal.concept.name,
        kind=removal.concept.kind,
        destination=removal.destination.words,
        destination_source=removal.destination.source,
        aliases=list(removal.aliases),
        names=[name_record(name) for name in names if name in covered],
        uncovered_names=[name_record(name) for name in names if name not in covered],
        edit_prompts=[pair.concept.text for pair in pairs],
        neighbours=neighbour_names(judge, prompts, removal, removed),
    )


def covered_by_all_encoders(
    request: EditRequest, model: Model, removal: ResolvedRemoval, updated: Sequence[UpdatedEncoder]
) -> set[ConceptName]:
    """Return the names that the edits of every text encoder cover."""
    by_encoder = [covered_names(*encoder, removal, request.options.aim) for encoder in updated]
    return set.intersection(*map(set, by_encoder)) if by_encoder else set(model.prompts.expand(removal).names)


def name_record(name: ConceptName) -> NameRecord:
    """Return the record of a name."""
    return NameRecord(text=name.text, source=name.source)


def neighbour_names(
    judge: "Judge | None", prompts: PromptBuilder, removal: ResolvedRemoval, removed: Sequence[ResolvedRemoval]
) -> list[str]:
    """Return the retained names nearest to a concept; none without a judge."""
    if judge is None:
        return []
    from editor.judging.neighbours import find_neighbours

    return find_neighbours(judge, prompts, removal, removed).names
