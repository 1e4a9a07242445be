"""What happened when the edit was attacked, what detectors counted, and where the concept's features went."""

from collections.abc import Iterator, Sequence

from api_schemas.attacks import AttackRecord, Rate
from api_schemas.detectors import DetectorRecord
from api_schemas.feature_scores import DiffCScore, FeatureScores, Residual, SaeScore
from api_schemas.report import AuditReport
from editor.publishing import report_text
from editor.publishing.document.blocks import Block, Bullets, Details, Gallery, Heading, Section, Table, text

ACCESS = {
    "prompts": "the service alone",
    "encoder": "the text encoders, edited and original",
    "weights": "all weights",
}
SHOWN = 12
"""Features that are listed of each score."""


def attacked(report: AuditReport, gallery: Gallery) -> Iterator[Section]:
    """What is there of it."""
    if report.attacks:
        yield Section("attacks", "When somebody tries to get it back", [*attacks(report, report.attacks, gallery)])
    if report.detectors:
        yield Section("detectors", "What detectors counted", [detectors(report.detectors)])
    if report.features and (report.features.sae or report.features.diffc):
        yield Section("features", "Inside of the model: where did it go?", [*features(report, report.features)])


def attacks(report: AuditReport, found: Sequence[AttackRecord], gallery: Gallery) -> Iterator[Block]:
    """Each attack on each removal; the most successful first."""
    ran = sorted((one for one in found if one.rate), key=lambda one: -one.rate.value if one.rate else 0.0)
    if ran:
        yield text(weakest(report, ran[0]))
        yield from gallery.chart("attacks")
        yield Table(
            "Share of the attempts in which the judge recognised the concept",
            ("Attack", "Concept", "Attacker has", "Base model", "Edited model", "Attempts", "Spent"),
            [attack(report, one) for one in ran],
        )
    yield from (details(report, one) for one in ran)
    skipped = [
        f"{report_text.plain(one.name)}, {report_text.concept(report, one.removal)}: {one.skipped}"
        for one in found
        if one.skipped
    ]
    if skipped:
        yield Heading("Not run")
        yield Bullets(skipped)


def weakest(report: AuditReport, worst: AttackRecord) -> str:
    """What the most successful attack says."""
    if worst.rate is None or not worst.rate.hits:
        return "No attack that was run brought a concept back in any picture."
    return (
        f"The most successful attack is {report_text.plain(worst.name)} on {report_text.concept(report, worst.removal)}: "
        f"{worst.rate.hits} of {worst.rate.n} attempts. {worst.tells}"
    )


def attack(report: AuditReport, one: AttackRecord) -> tuple[str, ...]:
    """A row."""
    return (
        report_text.plain(one.name),
        report_text.concept(report, one.removal),
        ACCESS[one.access],
        rate(one.rate_before),
        rate(one.rate),
        str(one.tried),
        f"{one.budget.spent:,} of {one.budget.allowed:,} {one.budget.unit}",
    )


def details(report: AuditReport, one: AttackRecord) -> Block:
    """Where it is from, what it means, what was tried."""
    figures = [f"{report_text.plain(name)}: {value:.4g}" for name, value in one.measures.items()]
    tried = [
        f"{report_text.shorten(attempt.what, 160)} – "
        f"{'recognised' if attempt.found else 'not recognised'} ({attempt.score:.3f})"
        for attempt in one.attempts
    ]
    blocks: list[Block] = [text(f"{one.tells} Source: {one.source}. Seed {one.seed}.")]
    blocks += [Bullets(figures)] if figures else []
    blocks += [Bullets(tried, small=True)] if tried else []
    return Details(f"{report_text.plain(one.name)} – {report_text.concept(report, one.removal)}", blocks)


def rate(found: Rate | None) -> str:
    """``"3 of 8 (14% to 69%)"``."""
    if found is None:
        return "–"
    return f"{found.hits} of {found.n} ({report_text.percent(found.low)} to {report_text.percent(found.high)})"


def detectors(found: Sequence[DetectorRecord]) -> Table:
    """Before and after."""
    return Table(
        "Pictures in which a detector found one of its classes",
        ("Detector", "Classes", "Threshold", "Before", "After"),
        [
            (
                f"{one.name} {one.version}",
                ", ".join(one.classes),
                f"{one.threshold:g}",
                rate(one.before),
                rate(one.after),
            )
            for one in found
        ],
    )


def features(report: AuditReport, found: FeatureScores) -> Iterator[Block]:
    """Scores of the autoencoder, the probe and Diff-C, and the features that rose or fell."""
    if found.sae:
        rows = [row for one in found.sae for row in residuals(report, one)]
        yield Table(
            "What is left of the concept's signal (1: all, 0: none), against kept concepts",
            ("Concept", "Read by", "Where", "Left", "Detected before", "Detected after", "Trusted"),
            rows,
        )
        yield from (changed(report, one) for one in found.sae if one.changed)
    if found.diffc:
        yield Table(
            "Whether a classifier of diffusion features finds it",
            ("Concept", "Asked for", "Where", "Probability before", "After", "Likeliest before", "After"),
            [diffc(report, one) for one in found.diffc],
        )


def residuals(report: AuditReport, one: SaeScore) -> Iterator[tuple[str, ...]]:
    """By the autoencoder's features, and by the probe."""
    readings: dict[str, Residual | None] = {"autoencoder": one.residual, "linear probe": one.probe}
    for name, found in readings.items():
        if found:
            trust = ("yes" if one.trusted else f"no: {one.why}") if name == "autoencoder" else "–"
            yield (
                report_text.concept(report, one.removal),
                name,
                f"{one.place.module}, t={one.place.timestep}",
                report_text.number(found.estimate),
                rate(found.detected_before),
                rate(found.detected_after),
                trust,
            )


def changed(report: AuditReport, one: SaeScore) -> Block:
    """Risen and fallen features."""
    return Table(
        f"Features of prompts about {report_text.concept(report, one.removal)} that rose or fell most, in standard deviations",
        ("Feature", "Before", "After", "Change", "Change on kept concepts"),
        [
            (
                f"{feature.feature}{' (stands for it)' if feature.feature in one.features else ''}",
                *(
                    f"{value:+.2f}"
                    for value in (feature.before, feature.after, feature.change, feature.controls_change)
                ),
            )
            for feature in one.changed[:SHOWN]
        ],
    )


def diffc(report: AuditReport, one: DiffCScore) -> tuple[str, ...]:
    """A row."""
    asked = "by its prompts" if one.asked_for == "prompt" else "nothing, from noised pictures of it"
    return (
        report_text.concept(report, one.removal),
        asked,
        f"{one.place.module}, t={one.place.timestep}",
        report_text.share(one.before),
        report_text.share(one.after),
        rate(one.found_before),
        rate(one.found_after),
    )
