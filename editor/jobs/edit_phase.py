"""The edit phase: solve for the updates of every text encoder, alone or together with a ledger."""

from collections.abc import Sequence

from pydantic import BaseModel
from safetensors.torch import load_file, save

from api_schemas.conflicts import Conflict
from api_schemas.report import NameRecord, RemovalRecord, SolveRecord
from editor.io.atomic import write_bytes
from editor.jobs.context import JobContext, keep
from editor.jobs.forecast import FORESEEN, edit_all, edits_of, foreseen_changes
from editor.jobs.trace_phase import in_ledger, traced
from editor.judging.prompt_groups import neighbour_names
from editor.ledger import Ledger, LedgerFolder, all_active_removals
from editor.methods.config import method_from_options
from editor.methods.default import MAX_LISTED_PROMPTS, TensorEdit
from editor.methods.tensor_update import TensorUpdate, make_tensor_update
from editor.prompts import ResolvedRemoval
from editor.tracing.layer_selection import select_layers


class Edited(BaseModel):
    """The edit phase's result beside its tensors."""

    removals: list[RemovalRecord]
    solves: list[SolveRecord]
    ledger: Ledger | None = None
    """As it will stand once this is delivered."""
    warnings: list[Conflict] = []
    """How the request and the ledger get in one another's way; not for the report, which names nobody else's removals."""


def run_edit(context: JobContext) -> None:
    """Solve for the updates of every text encoder."""
    context.progress("edit", 0.0, "solving")
    ledger, warnings = in_ledger(context)
    edits = solved(context, ledger)
    factors = {f"{i}.{side}": getattr(done.update, side) for i, done in enumerate(edits) for side in ("up", "down")}
    write_bytes(context.workdir / "edit.safetensors", save(factors))
    removed = all_active_removals(context.removals, context.entries, ledger, context.builder)
    done = Edited(
        removals=[described(context, removal, removed) for removal in context.removals],
        solves=with_forecast(context, edits, removed),
        ledger=ledger,
        warnings=warnings,
    )
    keep(context, "edit", done)
    context.progress("edit", 1.0, "solved")


def solved(context: JobContext, ledger: Ledger | None) -> list[TensorEdit]:
    """The edits, together with all that the ledger holds if there is one."""
    if context.ledger and ledger:
        return LedgerFolder(context.ledger).solve(ledger, context.checkpoint, context.entries)
    method = method_from_options(context.request.options, *chosen_layers(context))
    return edit_all(context.checkpoint, context.builders, context.removals, method)


def with_forecast(
    context: JobContext, edits: Sequence[TensorEdit], removed: Sequence[ResolvedRemoval]
) -> list[SolveRecord]:
    """The records, with what retain prompts in held-out wordings are to expect."""
    records = []
    for encoder, builder in zip(context.checkpoint.encoders, context.builders, strict=True):
        own = edits_of(encoder, edits)
        foreseen = foreseen_changes(
            encoder, builder, own, builder.held_out_retain_texts(builder.retain_phrases(removed), FORESEEN)
        )[:MAX_LISTED_PROMPTS]
        records += [done.record.model_copy(update={"foreseen": foreseen}) for done in own]
    return records


def chosen_layers(context: JobContext) -> tuple[tuple[int, ...], str]:
    """The layers to edit, and why."""
    sites = context.request.options.sites
    if sites != "auto":
        return tuple(sites), "as was asked"
    return select_layers(traced(context))


def described(context: JobContext, removal: ResolvedRemoval, removed: Sequence[ResolvedRemoval]) -> RemovalRecord:
    """A removal for the report."""
    objects, styles = context.builder.retained_names(removed)
    kept = objects if removal.concept.kind == "object" else styles
    paper = context.request.options.preset == "paper"
    pairs = context.builder.paper_pairs(removal) if paper else context.builder.edit_pairs(removal)
    return RemovalRecord(
        concept=removal.concept.name,
        kind=removal.concept.kind,
        destination=removal.destination.words,
        destination_source=removal.destination.source,
        aliases=list(removal.aliases),
        names=[NameRecord(text=name.text, source=name.source) for name in context.builder.expand(removal).names],
        edit_prompts=[pair.concept.text for pair in pairs],
        neighbours=neighbour_names(context.judge, removal, kept) if context.request.validation.enabled else [],
    )


def edited(context: JobContext) -> Edited:
    """The edit phase's result."""
    return Edited.model_validate_json(context.result("edit").read_bytes())


def updates(context: JobContext) -> list[TensorUpdate]:
    """The edit phase's updates, read back."""
    factors = load_file(context.workdir / "edit.safetensors")
    encoders = {encoder.component: encoder for encoder in context.checkpoint.encoders}
    return [
        make_tensor_update(encoders[solve.component], solve.tensor, factors[f"{i}.up"], factors[f"{i}.down"])
        for i, solve in enumerate(edited(context).solves)
    ]
