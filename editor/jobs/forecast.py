"""Forecast an edit before it is applied: how completely each concept is erased, and which prompts degrade most.

Runs the same solve as the edit itself. Generates no images and writes no weights.
"""

from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from api_schemas.conflicts import Conflict
from api_schemas.edits import EditOptions, EditRequest, SiteName
from api_schemas.errors import UsageError
from api_schemas.report import ForeseenChange, ForeseenRemoval, LedgerRecord
from editor.checkpoints import Checkpoint, OutputProjection, TextEncoder
from editor.io.progress import step, track
from editor.jobs.model import Model
from editor.jobs.replacements import Replacements, rank_replacements
from editor.ledger import (
    Ledger,
    LedgerEntry,
    LedgerFolder,
    all_active_removals,
    entries_from_request,
    other_removals,
)
from editor.methods.adjustments import NO_ADJUSTMENTS, SolveAdjustments
from editor.methods.collateral_forecast import forecast_collateral
from editor.methods.config import MethodConfig, method_from_options
from editor.methods.denoiser_edit import edit_denoiser
from editor.methods.encoder_edit import edit_encoder
from editor.methods.tensor_edits import Edit, SharedEdit, TensorEdit
from editor.prompts import (
    Profile,
    PromptBuilder,
    ResolvedRemoval,
    find_conflicts,
    label_removal,
    open_prompt_builders,
    pair_encoders,
)
from editor.prompts.resolve_request import resolve_request
from editor.sites.registry import denoiser_sites, name_sites

MAX_FORECAST_PROMPTS = 96
"""Held-out retain prompts in a forecast for which the caller provides no prompts."""


class ForecastPart(BaseModel):
    """Base class of the forecast's records."""

    model_config = ConfigDict(frozen=True)


class EncoderForecast(ForecastPart):
    """The forecast for one text encoder, or for one kind of site of the denoiser."""

    component: str
    site: SiteName = Field("text_encoder", description="Kind of site.")
    layers: list[int] = Field(description="The edited layers of a text encoder.")
    preservation: float
    removals: list[ForeseenRemoval] = Field(description="The requested removals, the least complete first.")
    prompts: list[ForeseenChange] = Field(description="The worst first.")
    too_long: int = Field(description="Prompts that exceed the encoder's context; they were left out.")
    warnings: list[str] = Field(description="What the forecast says cannot be done.")


class Forecast(ForecastPart):
    """The output of ``expunge foresee --json``."""

    encoders: list[EncoderForecast]
    conflicts: list[Conflict] = Field(description="Warnings about conflicting removals.")
    ledger: LedgerRecord | None = Field(description="The ledger with the requested removals.")


def forecast(
    checkpoint: Checkpoint,
    request: EditRequest,
    corpus: Sequence[str] | None = None,
    folder: LedgerFolder | None = None,
    profile: Profile | None = None,
    replacements: Replacements | None = None,
) -> Forecast:
    """Solve for the edit and forecast its effects.

    Args:
        corpus: prompts whose degradation is forecast; None for held-out retain prompts.
        folder: the ledger that the removals would join.
        profile: used instead of the model's own; with a ledger, the ledger's.
        replacements: the ranked automatic replacements; None to rank them here, without a judge.

    Raises:
        LedgerConflict, LedgerError, ConceptError, SolveError: the edit itself would be refused.
    """
    builders = open_prompt_builders(checkpoint, profile)
    ranked = replacements or rank_replacements(request, checkpoint, builders, None)
    options = name_sites(request.options, checkpoint)
    entries = entries_from_request(request, options, candidates=ranked.names) if folder else []
    others = other_removals(entries, folder.read_for(checkpoint), builders[0]) if folder else []
    removals = resolve_request(
        request, builders[0], each_alone=folder is not None, candidates=ranked.names, others=others
    )
    with step(0.0, 0.8):
        ledger, conflicts, edits = solve_request(checkpoint, builders, request, removals, folder, entries)
        removed = all_active_removals(removals, entries, ledger, builders[0])
    with step(0.8, 0.2):
        encoders = [
            forecast_encoder(
                encoder,
                builder,
                edits_of(encoder, edits),
                corpus or builder.held_out_retain_texts(builder.retain_phrases(removed), MAX_FORECAST_PROMPTS),
            )
            for encoder, builder in track(pair_encoders(checkpoint, builders))
            if edits_of(encoder, edits)
        ]
    encoders += [forecast_site(edit) for edit in shared_edits(edits)]
    return Forecast(encoders=encoders, conflicts=conflicts, ledger=ledger.to_record() if ledger else None)


def solve(model: Model, request: EditRequest) -> list[Edit]:
    """Resolve the removals of a request and solve for the update of every text encoder.

    Returns:
        For each text encoder and each edited layer an exact low-rank update, and for each site of the denoiser one solution
        for all its tensors; each with the record of its solve.

    Raises:
        ConceptError: a name leaves no room for any prompt, or a pinned prompt does not fit.
        SolveError: the pinned prompts leave no direction to edit.
        UsageError: ``options.sites`` is "auto", which needs a trace.
    """
    ranked = rank_replacements(request, model.checkpoint, model.prompt_builders, None)
    removals = resolve_request(request, model.prompts, candidates=ranked.names)
    return solve_request(model.checkpoint, model.prompt_builders, request, removals, None)[2]


def solve_request(
    checkpoint: Checkpoint,
    builders: Sequence[PromptBuilder],
    request: EditRequest,
    removals: Sequence[ResolvedRemoval],
    folder: LedgerFolder | None,
    entries: Sequence[LedgerEntry] = (),
) -> tuple[Ledger | None, list[Conflict], list[Edit]]:
    """Return the ledger that a request would give, conflict warnings, and the edits, solved together with the ledger."""
    if folder:
        folder.read()
        ledger, warnings = folder.preview_add(checkpoint, entries)
        return ledger, warnings, folder.solve(ledger, checkpoint, entries)
    options = request.options
    if options.layers == "auto":
        raise UsageError(
            'The sites "auto" need a trace, and a forecast runs none.',
            field="sites",
            remedy="Name the layers, for example --sites 0.",
        )
    method = method_from_options(options, tuple(options.layers), "as requested")
    edits: list[Edit] = [
        *solve_encoders(checkpoint, builders, removals, lambda _: method),
        *solve_denoiser(checkpoint, builders, removals, options),
    ]
    return None, find_request_conflicts(request, builders[0]), edits


def find_request_conflicts(request: EditRequest, builder: PromptBuilder) -> list[Conflict]:
    """Return the conflicts among the removals of a request that joins no ledger."""
    labelled = [label_removal(removal.concept, removal, builder.profile) for removal in request.removals]
    return find_conflicts(labelled, builder.tokenizer)


def solve_encoders(
    checkpoint: Checkpoint,
    builders: Sequence[PromptBuilder],
    removals: Sequence[ResolvedRemoval],
    choose_method: Callable[[TextEncoder], MethodConfig],
    adjustments: SolveAdjustments = NO_ADJUSTMENTS,
) -> list[TensorEdit]:
    """Return the edits of every text encoder, each by the method chosen for it, without a ledger."""
    pairs = pair_encoders(checkpoint, builders)
    chosen = [(encoder, builder, method) for encoder, builder in pairs if (method := choose_method(encoder)).layers]
    return [
        result
        for encoder, builder, method in track(chosen)
        for result in edit_encoder(encoder, builder, removals, method, report_on=removals, adjustments=adjustments)
    ]


def solve_denoiser(
    checkpoint: Checkpoint,
    builders: Sequence[PromptBuilder],
    removals: Sequence[ResolvedRemoval],
    options: EditOptions,
    adjustments: SolveAdjustments = NO_ADJUSTMENTS,
) -> list[SharedEdit]:
    """Return the edits of the denoiser's sites that a request names, without a ledger; none for the text encoder alone.

    Raises:
        SiteError: the model lacks a named site.
    """
    sites = denoiser_sites(checkpoint, builders, options)
    method = method_from_options(options, (), "")
    return edit_denoiser(sites, builders[0], removals, method, report_on=removals, adjustments=adjustments)


def edits_of(encoder: TextEncoder, edits: Sequence[Edit]) -> list[TensorEdit]:
    """Return the edits of one text encoder."""
    return [one for one in edits if isinstance(one, TensorEdit) and one.record.component == encoder.component]


def shared_edits(edits: Sequence[Edit]) -> list[SharedEdit]:
    """Return the edits of the denoiser."""
    return [one for one in edits if isinstance(one, SharedEdit)]


def forecast_site(edit: SharedEdit) -> EncoderForecast:
    """Forecast the effects at one kind of site of the denoiser, where the change of a prompt is exact."""
    record = edit.record
    return EncoderForecast(
        component=record.component,
        site=record.site,
        layers=[],
        preservation=record.preservation,
        removals=record.feasibility,
        prompts=record.foreseen,
        too_long=0,
        warnings=record.warnings,
    )


def forecast_encoder(
    encoder: TextEncoder, builder: PromptBuilder, edits: Sequence[TensorEdit], texts: Sequence[str]
) -> EncoderForecast:
    """Forecast the effects in one text encoder. If several layers are edited, the last one gives the removals' figures."""
    last, readable = edits[-1].record, builder.select_fitting(list(dict.fromkeys(texts)))
    return EncoderForecast(
        component=encoder.component,
        layers=sorted({one.record.layer for one in edits if one.record.layer is not None}),
        preservation=last.preservation,
        removals=last.feasibility,
        prompts=forecast_changes(encoder, builder, edits, readable) if readable else [],
        too_long=len(set(texts)) - len(readable),
        warnings=list(dict.fromkeys(warning for one in edits for warning in one.record.warnings)),
    )


def forecast_changes(
    encoder: TextEncoder,
    builder: PromptBuilder,
    edits: Sequence[TensorEdit],
    texts: Sequence[str],
    *,
    quick: bool = False,
) -> list[ForeseenChange]:
    """Forecast how much an encoder's edits change prompts, the worst first; see :func:`forecast_collateral`."""
    return forecast_collateral(encoder, builder, update_by_projection(edits), texts, quick=quick)


def update_by_projection(edits: Sequence[TensorEdit]) -> dict[OutputProjection, Tensor]:
    """Return the dense update of each edited map of one text encoder."""
    updates = (one.update for one in edits)
    return {OutputProjection.from_weight_name(update.name): update.up @ update.down for update in updates}
