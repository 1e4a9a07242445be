"""What changed in the model, the forecast of its effects, and where the model computes the concept."""

from collections.abc import Iterator

from api_schemas.report import AuditReport, CollateralRecord, SolveRecord, TraceRecord, WordTrace
from editor.publishing import report_text
from editor.publishing.document.blocks import Block, Code, Details, FigureIndex, Heading, Section, Table, paragraph
from editor.publishing.figure_names import trace_figure_name, trade_off_figure_name


def edit_sections(report: AuditReport, figures: FigureIndex) -> Iterator[Section]:
    """Return the sections about the edit itself."""
    if report.solves:
        yield Section("change", "What changed in the model", [*edit_blocks(report, figures)])
    forecast = [*forecast_blocks(report, figures)]
    if forecast:
        yield Section("foreseen", "Forecast and outcome", forecast)
    if report.ledger:
        yield Section("ledger", "Position in the ledger", [*ledger_blocks(report)])
    if report.traces:
        blocks = [block for trace in report.traces for block in trace_blocks(report, trace, figures)]
        yield Section("trace", "Where the model computes the concept", blocks)


def edit_blocks(report: AuditReport, figures: FigureIndex) -> Iterator[Block]:
    """Show the removals and the solves."""
    tensors = [
        piece
        for solve in report.solves
        for piece in (Code(solve.tensor), f"{more_tensors(solve)} of ", Code(solve.component), ", ")
    ]
    yield paragraph("Changed: ", *tensors[:-1], ". All other bytes are unchanged.")
    if report.removals:
        yield Table(
            "The removed concepts",
            ("Concept", "Kind", "After the edit", "Aliases", "Nearest retained concepts"),
            [
                (
                    removal.concept,
                    removal.kind,
                    report_text.destination_clause(removal),
                    ", ".join(removal.aliases) or "–",
                    ", ".join(removal.neighbours) or "–",
                )
                for removal in report.removals
            ],
        )
    for index, solve in enumerate(report.solves):
        yield solve_table(solve)
        yield from (paragraph("Warning: ", warning) for warning in solve.warnings)
        yield from trade_off_blocks(solve, index, figures)


def solve_table(solve: SolveRecord) -> Block:
    """Show how the update of one tensor was computed."""
    rows: dict[str, str] = {
        "Method": solve.method,
        "Site": f"{site_label(solve)}{f' ({solve.layer_choice})' if solve.layer_choice else ''}",
        "Change relative to the tensor (Frobenius norm)": report_text.percent(solve.relative_change),
        "Rank": f"{solve.rank} (from {solve.columns} key columns)",
        "Preservation weight": f"{solve.preservation:.4g}",
        "Ridge": f"{solve.ridge:.4g}",
        "Condition number (upper bound)": f"{solve.condition:.3g}",
        "Maximum change of the empty prompt": f"{solve.null_prompt_drift:.2g}",
        "Predicted drift of retained prompts, 95th percentile": report_text.percent(solve.predicted_retain_p95),
        "Residual on held-out prompts (0: closed, 1: unchanged)": report_text.percent_or_dash(solve.residual),
        "Solve time": f"{solve.seconds:.3f} s",
    }
    return Table(f"Update of {solve.tensor}{more_tensors(solve)} of {solve.component}", (), [*rows.items()])


def site_label(solve: SolveRecord) -> str:
    """Return a site in words: ``layer 0``, ``MLP of layer 0``, or ``cross attention, 32 tensors``."""
    if solve.layer is not None:
        return f"{'MLP of ' if solve.of_mlp else ''}layer {solve.layer}"
    return f"{solve.site.replace('_', ' ')}, {len(solve.shared_by)} tensors"


def more_tensors(solve: SolveRecord) -> str:
    """Return how many other tensors a solve changes, in words; empty for none."""
    more = len(solve.shared_by) - 1
    return f" and {more} more" if more > 0 else ""


def trade_off_blocks(solve: SolveRecord, index: int, figures: FigureIndex) -> Iterator[Block]:
    """Show the preservation weights that were tried."""
    if not solve.trade_off:
        return
    yield Heading("Trade-off between removal and preservation")
    yield from figures.chart(trade_off_figure_name(index))
    table = Table(
        "Values of the trade-off curve",
        ("Preservation weight", "Removed", "Retained", "Drift, 95th percentile"),
        [
            (
                f"{point.preservation:.4g}",
                *(report_text.percent(share) for share in (point.removed, point.retained, point.predicted_retain_p95)),
            )
            for point in solve.trade_off
        ],
    )
    yield Details("Values of the trade-off curve", [table])


def calibration_blocks(record: CollateralRecord, figures: FigureIndex) -> Iterator[Block]:
    """Compare the forecast with the measured loss of accuracy."""
    varied = record.correlation.low < record.correlation.high
    correlation = (
        f" Rank correlation over prompts: {report_text.format_estimate(record.correlation)}." if varied else ""
    )
    yield paragraph(
        f"For {record.prompts} prompts about retained concepts, the forecast was that "
        f"{report_text.percent(record.foreseen)} of them would lose what they ask for. The judge's accuracy on their images "
        f"fell by {report_text.format_share(record.measured)}.{correlation}"
    )
    yield from figures.chart("collateral")
    yield Table(
        "Forecast and measured loss, in bands of the forecast",
        ("Forecast probability of loss", "Mean", "Measured drop of accuracy", "Prompts"),
        [
            (
                f"{report_text.percent(band.lowest)} to {report_text.percent(band.highest)}",
                report_text.percent(band.foreseen),
                report_text.format_share(band.measured),
                str(band.measured.n),
            )
            for band in record.bands
        ],
    )


def forecast_blocks(report: AuditReport, figures: FigureIndex) -> Iterator[Block]:
    """Show the forecast for each concept, and the prompts forecast to change most. Both precede any image."""
    if report.collateral:
        yield from calibration_blocks(report.collateral, figures)
    for solve in report.solves:
        if solve.feasibility:
            yield Table(
                f"Completeness of each removal in {solve.component}, {site_label(solve)}",
                ("Concept", "Overlap with protected prompts", "Remaining after the update"),
                [
                    (one.concept, report_text.percent(one.leak), report_text.percent(one.left))
                    for one in solve.feasibility
                ],
            )
        if solve.foreseen:
            yield Table(
                f"Unrelated prompts that change most in {solve.component}",
                ("Prompt", "Change at the layer", "Change of the last hidden states", "Probability of loss"),
                [
                    (
                        one.prompt,
                        report_text.percent(one.change),
                        report_text.percent_or_dash(one.moved),
                        report_text.percent_or_dash(one.drop),
                    )
                    for one in solve.foreseen
                ],
            )


def ledger_blocks(report: AuditReport) -> Iterator[Block]:
    """Show the ledger that the edit belongs to."""
    record = report.ledger
    if record is None:
        return
    rows = {"Active removals": str(record.active), "Revoked by this edit": ", ".join(record.taken_back) or "none"}
    yield Table("The ledger", (), [*rows.items(), ("Digest of base model and active removals", Code(record.digest))])
    yield paragraph("Equal digests mean byte-identical weights, whatever the order of the removals.")


def trace_blocks(report: AuditReport, trace: TraceRecord, figures: FigureIndex) -> Iterator[Block]:
    """Show the causal mediation analysis of one concept."""
    several = len({one.component for one in report.traces}) > 1
    concept = report_text.concept_name(report, trace.removal)
    yield Heading(f"{concept} in {trace.component}" if several else concept)
    ahead = "significantly ahead of" if trace.separated else "not significantly ahead of"
    is_edited = "It is the edited site." if trace.edited_site_is_causal else "It is not the edited site."
    yield paragraph(
        "The concept's name was corrupted with noise, then one site at a time was restored to its value in the clean run. "
        f"Read-out: {trace.read_out}; {trace.clean_score:.3f} in the clean run, {trace.corrupted_score:.3f} in the corrupted "
        f"run. The largest effect is at {trace.causal_site.replace('_', '-')}, {ahead} the next site. {is_edited} "
        f"{trace.choice}"
    )
    yield from figures.chart(trace_figure_name(trace))
    rows = [
        (str(site.layer), report_text.SITE_LABELS[site.kind], report_text.format_estimate(site.effect))
        for site in trace.sites
    ]
    table = Table("Restored share of the score at each site", ("Layer", "Site", "Restored share"), rows)
    yield Details("Values for all sites", [table])
    if trace.by_word:
        yield Details("One prompt, word by word", [word_table(trace.by_word)])


def word_table(trace: WordTrace) -> Table:
    """Return the effects at each word of a prompt by layer, in per cent."""
    layers = tuple(f"Layer {layer}" for layer in range(len(trace.words[0].effects)))
    rows = [(word.text, *(f"{100 * share:.0f}" for share in word.effects)) for word in trace.words]
    return Table(f"“{trace.prompt}”: % of the score that self-attention restores", ("Word", *layers), rows)
