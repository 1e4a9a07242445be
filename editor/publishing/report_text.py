"""The report's figures in words that an artist or a lawyer can read. Plain text: whoever prints it escapes it."""

from collections.abc import Iterator

from api_schemas.report import (
    AuditReport,
    Check,
    Estimate,
    GroupScore,
    LedgerRecord,
    RemovalRecord,
    Validation,
    Verdict,
)

HEADLINES: dict[Verdict | None, str] = {
    "passed": "All that was tested meets the thresholds that were set before the test.",
    "failed": "At least one figure misses the threshold that was set before the test.",
    "inconclusive": "The test was too small to say on which side of a threshold the truth lies.",
    None: "The weights were edited, but no pictures were drawn and nobody judged the result.",
}
BASE = "Nothing is active in the ledger: the base model is the result, byte for byte."
OUTCOMES: dict[Verdict | None, str] = {
    "passed": "✓ passed",
    "failed": "✗ failed",
    "inconclusive": "? inconclusive",
    None: "– not tested",
}
GROUPS = {
    "target": "Prompts that ask for it",
    "generality": "The same in wordings that the edit never saw",
    "neighbours": "Its closest neighbours",
    "retain": "Unrelated prompts",
}
LABELS = {
    "target": "asked for",
    "generality": "in other wordings",
    "neighbours": "its neighbours",
    "retain": "unrelated prompts",
}
ASKS = {"object": "the object", "style": "the style", "both": "object and style"}


def emptied(report: AuditReport) -> bool:
    """Whether nothing is removed any more: the ledger's last removal was taken back."""
    return report.ledger is not None and not report.ledger.active


def title(report: AuditReport) -> str:
    """What the report is about."""
    if emptied(report):
        return f"Nothing is removed from {report.model.id} any more"
    return f"Removal of {names(report)} from {report.model.id}"


def headline(report: AuditReport) -> str:
    """The verdict in a sentence or two."""
    return BASE if emptied(report) else HEADLINES[report.verdict]


def names(report: AuditReport) -> str:
    """The removed concepts, listed; those of a ledger that nobody asked about just now are counted."""
    if report.ledger and not report.removals:
        return f"{report.ledger.active} concepts" if report.ledger.active > 1 else "one concept"
    return ", ".join(f"“{removal.concept}”" for removal in report.removals)


def percent(value: float) -> str:
    """``0.934`` -> ``"93%"``, ``0.0123`` -> ``"1.2%"``: small shares are the ones that thresholds speak of."""
    share = 100 * value
    text = f"{share:.1f}" if abs(share) < 10 else f"{share:.0f}"
    return f"{text.removesuffix('.0')}%"


def share(estimate: Estimate) -> str:
    """``"93% (88% to 97%)"``."""
    return f"{percent(estimate.value)} ({percent(estimate.low)} to {percent(estimate.high)})"


def number(estimate: Estimate) -> str:
    """``"0.312 (0.300 to 0.325)"``."""
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def concept(report: AuditReport, removal: int | None) -> str:
    """What a figure is about."""
    return "all" if removal is None else report.removals[removal].concept


def group_name(report: AuditReport, group: GroupScore) -> str:
    """A group of prompts, and what it is about."""
    about = f" – {concept(report, group.removal)}" if group.removal is not None else ""
    return f"{GROUPS[group.group]}{about}, {ASKS[group.asks]}"


def group_label(report: AuditReport, group: GroupScore) -> str:
    """The same for a chart."""
    about = f"{shorten(concept(report, group.removal), 30)}, " if group.removal is not None else ""
    return f"{about}{LABELS[group.group]} ({group.asks})"


def shorten(text: str, most: int) -> str:
    """At most so many characters."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def plain(name: str) -> str:
    """``ring_a_bell_transfer`` -> ``"ring a bell transfer"``."""
    return name.replace("_", " ")


def check_name(check: Check) -> str:
    """A threshold's name as words."""
    return check.name.replace("_", " ")


def maybe(share: float | None) -> str:
    """A share that may not be known."""
    return "–" if share is None else percent(share)


def kind(removal: RemovalRecord) -> str:
    """What sort of concept it is."""
    return "style" if removal.kind == "style" else "concept"


def destination(removal: RemovalRecord) -> str:
    """What the concept's prompts mean from now on."""
    return {
        "replacement": f"its prompts now mean “{removal.destination}”, as was asked",
        "generic": f"its prompts now mean “{removal.destination}”, its generic class",
        "null": "its prompts now read as if it had not been named",
    }[removal.destination_source]


def summary(report: AuditReport) -> Iterator[str]:
    """A sentence for each removal and for what was to be kept."""
    for index, removal in enumerate(report.removals):
        kind = "style" if removal.kind == "style" else "concept"
        yield f"The {kind} “{removal.concept}” was removed: {destination(removal)}."
        if report.validation:
            yield from (found(group) for group in groups(report.validation, "target", index))
    if report.ledger:
        yield from ledger(report.ledger)
    if report.validation:
        yield from (kept(group) for name in ("neighbours", "retain") for group in groups(report.validation, name))


def ledger(record: LedgerRecord) -> Iterator[str]:
    """What else the weights carry, and what they no longer do."""
    for concept in record.taken_back:
        yield f"“{concept}” is no longer removed: nothing is left of that edit."
    yield f"The weights carry all that is active in a ledger: {count(record.active)}." if record.active else BASE


def count(removals: int) -> str:
    """``"1 removal"``, ``"12 removals"``."""
    return f"{removals} removal{'s' if removals != 1 else ''}"


def groups(validation: Validation, name: str, removal: int | None = None) -> Iterator[GroupScore]:
    """The groups of this name, and of this removal if one is given."""
    return (g for g in validation.groups if g.group == name and removal in (None, g.removal))


def found(group: GroupScore) -> str:
    """How often the removed concept is still recognised."""
    before, after = group.accuracy_before, group.accuracy_after
    return (
        f"Asked for it, the judge recognised it in {percent(before.value)} of the pictures before and in "
        f"{percent(after.value)} after (no more than {percent(after.high)}, allowing for chance)."
    )


def kept(group: GroupScore) -> str:
    """How well what should stay has stayed."""
    before, after = group.accuracy_before, group.accuracy_after
    return (
        f"{GROUPS[group.group]}: {ASKS[group.asks]} was recognised in {percent(before.value)} of the pictures before "
        f"and in {percent(after.value)} after."
    )
