"""What a removal will do, before anything is applied: how far each concept goes, and which prompts are hurt most.

The same solve as the edit's own; nothing is drawn and nothing is written.
"""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from api_schemas.conflicts import Conflict, LabelledRemoval
from api_schemas.edits import EditRequest
from api_schemas.errors import UsageError
from api_schemas.report import ForeseenChange, ForeseenRemoval, LedgerRecord
from editor.checkpoints import Checkpoint, TextEncoder
from editor.ledger import Ledger, LedgerFolder, all_active_removals, entries_from_request
from editor.methods.collateral_forecast import forecast_collateral
from editor.methods.config import MethodConfig, method_from_options
from editor.methods.default import TensorEdit, edit_encoder
from editor.prompts import PromptBuilder, ResolvedRemoval, find_conflicts, open_prompt_builders
from editor.prompts.resolve_request import resolve_request

FORESEEN = 96
"""Prompts about what stays whose collateral is foreseen where nobody brings others."""


class Part(BaseModel):
    """Base of the forecast's parts."""

    model_config = ConfigDict(frozen=True)


class EncoderForecast(Part):
    """What will happen in one text encoder."""

    component: str
    layers: list[int] = Field(description="That are edited.")
    preservation: float
    removals: list[ForeseenRemoval] = Field(description="That were asked about, what goes least far first.")
    prompts: list[ForeseenChange] = Field(description="Worst first.")
    too_long: int = Field(description="Prompts that the encoder can't read whole; they were left out.")


class Forecast(Part):
    """What ``expunge foresee --json`` prints."""

    encoders: list[EncoderForecast]
    conflicts: list[Conflict] = Field(description="Warnings: what gets in one another's way.")
    ledger: LedgerRecord | None = Field(description="As it would stand.")


def forecast(
    checkpoint: Checkpoint,
    request: EditRequest,
    corpus: Sequence[str] | None = None,
    folder: LedgerFolder | None = None,
) -> Forecast:
    """Solve, and look what comes of it.

    Args:
        corpus: the prompts to look at; None for prompts about what stays, in wordings that the edit does not see.
        folder: a ledger that the removals would join.

    Raises:
        LedgerConflict, LedgerError, ConceptError, SolveError: the edit itself would be refused.
    """
    builders = open_prompt_builders(checkpoint)
    removals = resolve_request(request, builders[0], each_alone=folder is not None)
    ledger, conflicts, edits = solved(checkpoint, builders, request, removals, folder)
    removed = all_active_removals(removals, entries_from_request(request), ledger, builders[0])
    found = [
        encoder_forecast(
            encoder,
            builder,
            edits_of(encoder, edits),
            corpus or builder.held_out_retain_texts(builder.retain_phrases(removed), FORESEEN),
        )
        for encoder, builder in zip(checkpoint.encoders, builders, strict=True)
    ]
    return Forecast(encoders=found, conflicts=conflicts, ledger=ledger.to_record() if ledger else None)


def solved(
    checkpoint: Checkpoint,
    builders: Sequence[PromptBuilder],
    request: EditRequest,
    removals: Sequence[ResolvedRemoval],
    folder: LedgerFolder | None,
) -> tuple[Ledger | None, list[Conflict], list[TensorEdit]]:
    """The edits, alone or with all that a ledger holds, and what gets in the way."""
    if folder:
        folder.read()
        entries = entries_from_request(request)
        ledger, warnings = folder.preview_add(checkpoint, entries)
        return ledger, warnings, folder.solve(ledger, checkpoint, entries)
    if request.options.sites == "auto":
        raise UsageError("Only a trace can tell the sites.", field="sites", remedy="Name layers, such as --sites 0.")
    labelled = [LabelledRemoval(removal.concept, removal) for removal in request.removals]
    method = method_from_options(request.options, tuple(request.options.sites), "as was asked")
    edits = edit_all(checkpoint, builders, removals, method)
    return None, find_conflicts(labelled, builders[0].tokenizer), edits


def edit_all(
    checkpoint: Checkpoint, builders: Sequence[PromptBuilder], removals: Sequence[ResolvedRemoval], method: MethodConfig
) -> list[TensorEdit]:
    """The edits of every text encoder, without a ledger."""
    every = zip(checkpoint.encoders, builders, strict=True)
    return [
        done
        for encoder, builder in every
        for done in edit_encoder(encoder, builder, removals, method, report_on=removals)
    ]


def edits_of(encoder: TextEncoder, edits: Sequence[TensorEdit]) -> list[TensorEdit]:
    """Those of one text encoder."""
    return [done for done in edits if done.record.component == encoder.component]


def encoder_forecast(
    encoder: TextEncoder, builder: PromptBuilder, edits: Sequence[TensorEdit], texts: Sequence[str]
) -> EncoderForecast:
    """What will happen in one text encoder. Of several layers, the last tells how far the concepts go."""
    last, readable = edits[-1].record, builder.select_fitting(list(dict.fromkeys(texts)))
    return EncoderForecast(
        component=encoder.component,
        layers=[done.record.layer for done in edits],
        preservation=last.preservation,
        removals=last.feasibility,
        prompts=foreseen_changes(encoder, builder, edits, readable) if readable else [],
        too_long=len(set(texts)) - len(readable),
    )


def foreseen_changes(
    encoder: TextEncoder, builder: PromptBuilder, edits: Sequence[TensorEdit], texts: Sequence[str]
) -> list[ForeseenChange]:
    """What an encoder's edits will do to prompts, worst first."""
    return forecast_collateral(
        encoder, builder, {done.record.layer: done.update.up @ done.update.down for done in edits}, texts
    )
