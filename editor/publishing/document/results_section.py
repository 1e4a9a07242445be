"""The verdict, the pictures and the figures."""

from collections.abc import Iterator

from api_schemas.judging import Drift, HarmonicScore, Preservation
from api_schemas.report import AuditReport, Check, Validation
from editor.publishing import report_text
from editor.publishing.document.blocks import Block, Gallery, Heading, Illustration, Outcome, Section, Table, text

SIDES = {"<=": "at most", ">=": "at least"}


def results(report: AuditReport, gallery: Gallery) -> Iterator[Section]:
    """What was found."""
    sheets = [Illustration(sheet) for sheet in gallery.sheets]
    if sheets:
        same = "The same prompts and the same random seeds, drawn by the model as it was and as it is now."
        yield Section("pictures", "Before and after", [text(same), *sheets])
    if report.validation:
        yield Section("gates", "Against the thresholds", [*gates(report, report.validation, gallery)])
        yield Section("scores", "What the judge recognised", [*scores(report, report.validation, gallery)])
    if report.validation and report.validation.preservation:
        yield Section("kept", "What has stayed", [*kept(report.validation.preservation)])


def gates(report: AuditReport, validation: Validation, gallery: Gallery) -> Iterator[Block]:
    """Each threshold and what came of it."""
    policy = f"the policy “{validation.policy}”" if validation.policy else "the request"
    yield text(
        f"Where the true figure lies with {report_text.percent(validation.confidence)} confidence is in brackets. "
        f"The thresholds are those of {policy}, fixed before anything was drawn."
    )
    yield from gallery.chart("gates")
    yield Table(
        "Thresholds",
        ("Figure", "Concept", "Measured", "Must be", "Prompts", "Outcome"),
        [gate(report, check) for check in validation.checks],
    )
    yield from effort(validation)


def gate(report: AuditReport, check: Check) -> tuple[str | Outcome, ...]:
    """A row."""
    return (
        report_text.check_name(check),
        report_text.concept(report, check.removal),
        report_text.share(check.measured),
        f"{SIDES[check.comparator]} {report_text.percent(check.threshold)}",
        f"{check.measured.n}{f' of {check.planned}, settled early' if check.settled == 'early' else ''}",
        Outcome(check.outcome),
    )


def effort(validation: Validation) -> Iterator[Block]:
    """How many pictures it took, and by which rule drawing stopped."""
    if validation.planned:
        less = f" of {validation.planned} planned" if validation.images < validation.planned else ""
        yield text(f"{validation.images} pairs of pictures{less} were drawn. {validation.method}")


def scores(report: AuditReport, validation: Validation, gallery: Gallery) -> Iterator[Block]:
    """Shares and similarities of all groups."""
    yield from gallery.chart("scores")
    yield Table(
        "Share of pictures in which it was recognised",
        ("Prompts", "Number", "Before", "After", "Fall"),
        [
            (
                report_text.group_name(report, group),
                str(group.accuracy_after.n),
                *(report_text.share(one) for one in (group.accuracy_before, group.accuracy_after, group.accuracy_drop)),
            )
            for group in validation.groups
        ],
    )
    yield from harmonics(report, validation.harmonics)
    yield Heading("Resemblance")
    yield Table(
        "How much the pictures resemble what was asked for (cosine of the judge's embeddings)",
        ("Prompts", "Before", "After"),
        [
            (
                report_text.group_name(report, group),
                report_text.number(group.score_before),
                report_text.number(group.score_after),
            )
            for group in validation.groups
        ],
    )


def harmonics(report: AuditReport, found: list[HarmonicScore]) -> Iterator[Block]:
    """One figure for each removal."""
    if found:
        yield Table(
            "In one figure: the harmonic mean of efficacy, specificity and generality",
            ("Concept", "Efficacy", "Specificity", "Generality", "Together"),
            [
                (
                    report_text.concept(report, one.removal),
                    *(report_text.percent(share) for share in (one.efficacy, one.specificity, one.generality)),
                    report_text.share(one.harmonic),
                )
                for one in found
            ],
        )


def kept(found: Preservation) -> Iterator[Block]:
    """How like the pictures of unrelated prompts are, and how far their prompts moved."""
    rows = {
        "Structural similarity (SSIM), 1 for equal pictures": found.ssim,
        "Distance of the judge's patch features, 0 for equal pictures": found.distance,
        "Kernel inception distance (KID) on the judge's features": found.kid,
        "CMMD on the judge's features, times 1000": found.cmmd,
    }
    yield Table(
        f"{found.images} pictures of unrelated prompts, before and after at the same seeds; features of {found.judge}",
        (),
        [(name, report_text.number(one) if one else "too few pictures") for name, one in rows.items()],
    )
    if found.drift:
        yield drift(found.drift)


def drift(found: Drift) -> Block:
    """Movement in text space."""
    rows = {
        "Mean": found.mean,
        "95th percentile": found.p95,
        "Largest": found.max,
        "At the first position, the same in every prompt": found.bos,
        "The empty prompt": found.null_prompt,
    }
    return Table(
        f"How far the last states of {found.prompts} prompts about what must stay move, relative to their norm",
        (),
        [(name, f"{value:.2g}") for name, value in rows.items()],
    )
