"""What was changed in the model, what was foreseen of it, and where the concept is made."""

from collections.abc import Iterator

from api_schemas.report import AuditReport, CollateralRecord, SolveRecord, TraceRecord
from editor.publishing import report_text
from editor.publishing.charts import KINDS
from editor.publishing.document.blocks import Block, Code, Details, Gallery, Heading, Section, Table, text


def change(report: AuditReport, gallery: Gallery) -> Iterator[Section]:
    """The edit itself."""
    if report.solves:
        yield Section("change", "What was changed in the model", [*edited(report, gallery)])
    foreseen = [*foresight(report, gallery)]
    if foreseen:
        yield Section("foreseen", "What was foreseen, and what came", foreseen)
    if report.ledger:
        yield Section("ledger", "Position in the ledger", [*ledger(report)])
    if report.traces:
        blocks = [block for trace in report.traces for block in traced(report, trace, gallery)]
        yield Section("trace", "Where the concept is made", blocks)


def edited(report: AuditReport, gallery: Gallery) -> Iterator[Block]:
    """The removals and the solves."""
    changed = [piece for solve in report.solves for piece in (Code(solve.tensor), " of ", Code(solve.component), ", ")]
    yield text(*changed[:-1], "; all else is as it was, byte for byte.")
    if report.removals:
        yield Table(
            "The removed concepts",
            ("Concept", "Kind", "From now on", "Also known as", "Held in place"),
            [
                (
                    removal.concept,
                    removal.kind,
                    report_text.destination(removal),
                    ", ".join(removal.aliases) or "–",
                    ", ".join(removal.neighbours) or "–",
                )
                for removal in report.removals
            ],
        )
    for index, solve in enumerate(report.solves):
        yield from solved(solve)
        yield from trade_off(solve, index, gallery)


def solved(solve: SolveRecord) -> Iterator[Block]:
    """One tensor's update."""
    rows: dict[str, str] = {
        "Method": solve.preset,
        "Layer": f"{solve.layer}{f' ({solve.layer_choice})' if solve.layer_choice else ''}",
        "Size of the change, relative to the tensor": report_text.percent(solve.relative_change),
        "Rank": f"{solve.rank} (from {solve.columns} key columns)",
        "Preservation weight": f"{solve.preservation:.4g}",
        "Ridge": f"{solve.ridge:.4g}",
        "Condition number, at most": f"{solve.condition:.3g}",
        "Largest change of the empty prompt": f"{solve.null_prompt_drift:.2g}",
        "Predicted drift of kept prompts, 95th percentile": report_text.percent(solve.predicted_retain_p95),
        "Time of the solve": f"{solve.seconds:.3f} s",
    }
    yield Table(f"The update of {solve.tensor} of {solve.component}", (), [*rows.items()])


def trade_off(solve: SolveRecord, index: int, gallery: Gallery) -> Iterator[Block]:
    """The preservation weights that were tried."""
    if not solve.trade_off:
        return
    yield Heading("What was weighed up")
    yield from gallery.chart(f"trade-off-{index}")
    table = Table(
        "The curve in numbers",
        ("Preservation weight", "Removed", "Retained", "Drift, 95th percentile"),
        [
            (
                f"{point.preservation:.4g}",
                *(report_text.percent(share) for share in (point.removed, point.retained, point.predicted_retain_p95)),
            )
            for point in solve.trade_off
        ],
    )
    yield Details("The curve in numbers", [table])


def against_measured(record: CollateralRecord, gallery: Gallery) -> Iterator[Block]:
    """The forecast, held against the pictures."""
    varied = record.correlation.low < record.correlation.high
    correlation = f" Rank correlation over prompts: {report_text.number(record.correlation)}." if varied else ""
    yield text(
        f"Of {record.prompts} prompts about what must stay, a share of {report_text.percent(record.foreseen)} was to "
        f"lose what it asks for; measured, the judge's accuracy fell by {report_text.share(record.measured)}.{correlation}"
    )
    yield from gallery.chart("collateral")
    yield Table(
        "Foreseen against measured, in bands of what was foreseen",
        ("Foreseen chance of loss", "Mean", "Measured fall of accuracy", "Prompts"),
        [
            (
                f"{report_text.percent(band.lowest)} to {report_text.percent(band.highest)}",
                report_text.percent(band.foreseen),
                report_text.share(band.measured),
                str(band.measured.n),
            )
            for band in record.bands
        ],
    )


def foresight(report: AuditReport, gallery: Gallery) -> Iterator[Block]:
    """How far each concept was to go, and which prompts were to change most, told before anything was drawn."""
    if report.collateral:
        yield from against_measured(report.collateral, gallery)
    for solve in report.solves:
        if solve.feasibility:
            yield Table(
                f"How far each concept goes in {solve.component}, layer {solve.layer}",
                ("Concept", "Held back by what must stay", "Left by the update"),
                [
                    (one.concept, report_text.percent(one.leak), report_text.percent(one.left))
                    for one in solve.feasibility
                ],
            )
        if solve.foreseen:
            yield Table(
                f"Prompts about other things that change most in {solve.component}",
                (
                    "Prompt",
                    "Change at the layer",
                    "Movement of the last states",
                    "Chance that it loses what it asks for",
                ),
                [
                    (
                        one.prompt,
                        report_text.percent(one.change),
                        report_text.maybe(one.moved),
                        report_text.maybe(one.drop),
                    )
                    for one in solve.foreseen
                ],
            )


def ledger(report: AuditReport) -> Iterator[Block]:
    """Where the edit stands among others."""
    record = report.ledger
    if record is None:
        return
    rows = {"Active removals": str(record.active), "Taken back by this edit": ", ".join(record.taken_back) or "none"}
    yield Table("The ledger", (), [*rows.items(), ("Digest of base and active set", Code(record.digest))])
    yield text("Equal digests mean byte-identical weights, whatever the order in which removals came.")


def traced(report: AuditReport, trace: TraceRecord, gallery: Gallery) -> Iterator[Block]:
    """Causal mediation analysis of one concept."""
    yield Heading(report_text.concept(report, trace.removal))
    ahead = "clearly ahead of" if trace.separated else "not clearly ahead of"
    is_edited = "the site that was edited" if trace.edited_site_is_causal else "not the site that was edited"
    yield text(
        "The concept's name was disturbed, then one site at a time was put back as in the undisturbed run. Read-out: "
        f"{trace.read_out}; {trace.clean_score:.3f} undisturbed, {trace.corrupted_score:.3f} disturbed. The largest "
        f"effect is that of {trace.causal_site.replace('_', '-')}, {ahead} the next; it is {is_edited}. {trace.choice}"
    )
    yield from gallery.chart(f"trace-{trace.removal}")
    rows = [(str(site.layer), KINDS[site.kind], report_text.number(site.effect)) for site in trace.sites]
    table = Table("Restored share at each site", ("Layer", "Site", "Restored share"), rows)
    yield Details("All sites in numbers", [table])
