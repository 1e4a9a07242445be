"""Attacks on the edit, detector counts, and feature scores."""

from collections.abc import Iterator, Sequence

from api_schemas.attacks import AttackRecord, Rate
from api_schemas.detectors import DetectorRecord
from api_schemas.feature_scores import DiffCScore, FeatureScores, Residual, SaeScore
from api_schemas.report import AuditReport
from editor.publishing import report_text
from editor.publishing.document.blocks import (
    Block,
    Bullets,
    Details,
    FigureIndex,
    Heading,
    Section,
    Table,
    paragraph,
)

ACCESS_LABELS = {
    "prompts": "prompts only",
    "encoder": "the original and the edited text encoder",
    "weights": "all weights",
}
MAX_LISTED_FEATURES = 12
"""Features that each score lists."""


def attack_sections(report: AuditReport, figures: FigureIndex) -> Iterator[Section]:
    """Return the sections on attacks, detectors and features that the report has figures for."""
    if report.attacks:
        yield Section(
            "attacks", "Attempts to bring the concept back", [*attack_blocks(report, report.attacks, figures)]
        )
    if report.detectors:
        yield Section("detectors", "Detector counts", [detector_table(report.detectors)])
    if report.features and (report.features.sae or report.features.diffc):
        yield Section("features", "The concept inside the model", [*feature_blocks(report, report.features)])


def attack_blocks(report: AuditReport, records: Sequence[AttackRecord], figures: FigureIndex) -> Iterator[Block]:
    """Show each attack on each removal, the most successful first."""
    ran = sorted((one for one in records if one.rate), key=lambda one: -one.rate.value if one.rate else 0.0)
    if ran:
        yield paragraph(strongest_attack_text(report, ran[0]))
        yield from figures.chart("attacks")
        yield Table(
            "Share of attempts in which the judge recognised the concept",
            ("Attack", "Concept", "Access", "Base model", "Edited model", "Attempts", "Budget spent"),
            [attack_row(report, one) for one in ran],
        )
    yield from (attack_details(report, one) for one in ran)
    skipped = [
        f"{report_text.replace_underscores(one.name)}, {report_text.concept_name(report, one.removal)}: {one.skipped}"
        for one in records
        if one.skipped
    ]
    if skipped:
        yield Heading("Not run")
        yield Bullets(skipped)


def strongest_attack_text(report: AuditReport, strongest: AttackRecord) -> str:
    """State the result of the most successful attack."""
    if strongest.rate is None or not strongest.rate.hits:
        return "No attack that was run brought a concept back in any image."
    concept = report_text.concept_name(report, strongest.removal)
    return (
        f"The most successful attack is {report_text.replace_underscores(strongest.name)} on {concept}: "
        f"{strongest.rate.hits} of {strongest.rate.n} attempts. {strongest.tells}"
    )


def attack_row(report: AuditReport, record: AttackRecord) -> tuple[str, ...]:
    """Return one attack as a table row."""
    return (
        report_text.replace_underscores(record.name),
        report_text.concept_name(report, record.removal),
        ACCESS_LABELS[record.access],
        format_rate(record.rate_before),
        format_rate(record.rate),
        str(record.tried),
        f"{record.budget.spent:,} of {record.budget.allowed:,} {record.budget.unit}",
    )


def attack_details(report: AuditReport, record: AttackRecord) -> Block:
    """Show the source of an attack, what its result means, and the attempts."""
    measures = [f"{report_text.replace_underscores(name)}: {value:.4g}" for name, value in record.measures.items()]
    attempts = [
        f"{report_text.truncate(attempt.what, 160)} – "
        f"{'recognised' if attempt.found else 'not recognised'} ({attempt.score:.3f})"
        for attempt in record.attempts
    ]
    blocks: list[Block] = [paragraph(f"{record.tells} Source: {record.source}. Seed {record.seed}.")]
    blocks += [Bullets(measures)] if measures else []
    blocks += [Bullets(attempts, small=True)] if attempts else []
    return Details(
        f"{report_text.replace_underscores(record.name)} – {report_text.concept_name(report, record.removal)}", blocks
    )


def format_rate(rate: Rate | None) -> str:
    """``"3 of 8 (14% to 69%)"``."""
    if rate is None:
        return "–"
    return f"{rate.hits} of {rate.n} ({report_text.percent(rate.low)} to {report_text.percent(rate.high)})"


def detector_table(records: Sequence[DetectorRecord]) -> Table:
    """Show the counts of each detector before and after the edit."""
    return Table(
        "Images in which a detector found one of its classes",
        ("Detector", "Classes", "Threshold", "Before", "After"),
        [
            (
                f"{one.name} {one.version}",
                ", ".join(one.classes),
                f"{one.threshold:g}",
                format_rate(one.before),
                format_rate(one.after),
            )
            for one in records
        ],
    )


def feature_blocks(report: AuditReport, scores: FeatureScores) -> Iterator[Block]:
    """Show the scores of the autoencoder, the probe and Diff-C, and the features that changed most."""
    if scores.sae:
        rows = [row for one in scores.sae for row in residual_rows(report, one)]
        yield Table(
            "Remaining share of the concept's signal (1: all, 0: none), relative to retained concepts",
            ("Concept", "Method", "Module and timestep", "Remaining", "Detected before", "Detected after", "Reliable"),
            rows,
        )
        yield from (changed_features_table(report, one) for one in scores.sae if one.changed)
    if scores.diffc:
        yield Table(
            "Probability of the concept under a classifier of diffusion features",
            ("Concept", "Images", "Module and timestep", "Before", "After", "Top class before", "Top class after"),
            [diffc_row(report, one) for one in scores.diffc],
        )


def residual_rows(report: AuditReport, score: SaeScore) -> Iterator[tuple[str, ...]]:
    """Return the remaining signal as measured by the autoencoder's features and by the linear probe."""
    residuals: dict[str, Residual | None] = {"autoencoder": score.residual, "linear probe": score.probe}
    for name, residual in residuals.items():
        if residual:
            reliable = ("yes" if score.trusted else f"no: {score.why}") if name == "autoencoder" else "–"
            yield (
                report_text.concept_name(report, score.removal),
                name,
                f"{score.place.module}, t={score.place.timestep}",
                report_text.format_estimate(residual.estimate),
                format_rate(residual.detected_before),
                format_rate(residual.detected_after),
                reliable,
            )


def changed_features_table(report: AuditReport, score: SaeScore) -> Block:
    """Show the features whose activation changed most."""
    concept = report_text.concept_name(report, score.removal)
    return Table(
        f"Features that changed most on prompts about {concept}, in standard deviations",
        ("Feature", "Before", "After", "Change", "Change on retained concepts"),
        [
            (
                f"{feature.feature}{' (represents the concept)' if feature.feature in score.features else ''}",
                *(
                    f"{value:+.2f}"
                    for value in (feature.before, feature.after, feature.change, feature.controls_change)
                ),
            )
            for feature in score.changed[:MAX_LISTED_FEATURES]
        ],
    )


def diffc_row(report: AuditReport, score: DiffCScore) -> tuple[str, ...]:
    """Return one Diff-C score as a table row."""
    images = "generated from its prompts" if score.asked_for == "prompt" else "noised images of it, empty prompt"
    return (
        report_text.concept_name(report, score.removal),
        images,
        f"{score.place.module}, t={score.place.timestep}",
        report_text.format_share(score.before),
        report_text.format_share(score.after),
        format_rate(score.found_before),
        format_rate(score.found_after),
    )
