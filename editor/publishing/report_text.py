"""The report's figures as sentences that an artist or a lawyer can read. Plain text: the renderer escapes it."""

from collections.abc import Iterator

from api_schemas.judging import ChoiceRule
from api_schemas.report import (
    AuditReport,
    Estimate,
    GroupScore,
    ImagePreprocessing,
    LedgerRecord,
    RemovalRecord,
    SiteKind,
    Validation,
    Verdict,
)

HEADLINES: dict[Verdict | None, str] = {
    "passed": "Every measured figure meets its threshold. The thresholds were set before the test.",
    "failed": "At least one measured figure misses its threshold. The thresholds were set before the test.",
    "inconclusive": "The test was too small to decide whether every threshold is met.",
    None: "The weights were edited, but no images were generated and the result was not evaluated.",
}
EMPTY_LEDGER = "No removal is active in the ledger: the result is the base model, byte for byte."
VERDICT_LABELS: dict[Verdict | None, str] = {
    "passed": "✓ passed",
    "failed": "✗ failed",
    "inconclusive": "? inconclusive",
    None: "– not tested",
}
GROUP_NAMES = {
    "target": "Prompts that name the concept",
    "generality": "The same in wordings that the edit did not use",
    "neighbours": "Its nearest neighbours",
    "retain": "Unrelated prompts",
    "destination": "Prompts that name the concept, which must show its replacement",
    "styled_objects": "Prompts in the removed style, which must show their object",
    "other_removed": "All prompts of the concept, which must not show another removed one",
}
GROUP_LABELS = {
    "target": "named",
    "generality": "other wordings",
    "neighbours": "neighbours",
    "retain": "unrelated prompts",
    "destination": "replacement",
    "styled_objects": "objects in the style",
    "other_removed": "other removed concepts",
}
QUESTION_LABELS = {
    "object": "the object",
    "style": "the style",
    "both": "object and style",
    "person": "the person",
    "character": "the character",
    "brand": "the brand",
    "unsafe": "unsafe content",
}
SITE_LABELS: dict[SiteKind, str] = {"self_attention": "self-attention", "mlp": "MLP"}
CHOICE_LABELS: dict[ChoiceRule, str] = {
    "all": "all {count} names of its kind that the profile lists",
    "neighbours": "the concept, its neighbours, its replacement and names of other groups: {names}",
    "prompts": "the {count} names in the prompts, and what was removed",
    "detector": "whether it detects any of {names} with a score of at least {threshold}",
    "likeness": "whether a face is the person's in images of the base model, with a similarity of at least {threshold}",
}


def is_empty_ledger(report: AuditReport) -> bool:
    """Whether no removal is active any more: the ledger's last removal was revoked."""
    return report.ledger is not None and not report.ledger.active


def title(report: AuditReport) -> str:
    """Return the report's title."""
    if is_empty_ledger(report):
        return f"No concept is removed from {report.model.id} any more"
    return f"Removal of {concept_names(report)} from {report.model.id}"


def headline(report: AuditReport) -> str:
    """Return the verdict as a sentence or two."""
    return EMPTY_LEDGER if is_empty_ledger(report) else HEADLINES[report.verdict]


def concept_names(report: AuditReport) -> str:
    """List the removed concepts. Those of a ledger without a request are counted, not named."""
    if report.ledger and not report.removals:
        return f"{report.ledger.active} concepts" if report.ledger.active > 1 else "one concept"
    return ", ".join(f"“{removal.concept}”" for removal in report.removals)


def percent(value: float) -> str:
    """``0.934`` -> ``"93%"``, ``0.0123`` -> ``"1.2%"``: small shares get a decimal, because thresholds are small."""
    scaled = 100 * value
    text = f"{scaled:.1f}" if abs(scaled) < 10 else f"{scaled:.0f}"
    return f"{text.removesuffix('.0')}%"


def format_share(estimate: Estimate) -> str:
    """``"93% (88% to 97%)"``."""
    return f"{percent(estimate.value)} ({percent(estimate.low)} to {percent(estimate.high)})"


def format_estimate(estimate: Estimate) -> str:
    """``"0.312 (0.300 to 0.325)"``."""
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def concept_name(report: AuditReport, removal: int | None) -> str:
    """Return the concept that a figure is about; "all" for figures about all removals."""
    return "all" if removal is None else report.removals[removal].concept


def group_name(report: AuditReport, group: GroupScore) -> str:
    """Name a group of prompts, the concept and the question."""
    about = f" – {concept_name(report, group.removal)}" if group.removal is not None else ""
    return f"{GROUP_NAMES[group.group]}{about}, {QUESTION_LABELS[group.asks]}"


def group_label(report: AuditReport, group: GroupScore) -> str:
    """Name a group of prompts briefly, for a chart."""
    about = f"{truncate(concept_name(report, group.removal), 30)}, " if group.removal is not None else ""
    return f"{about}{GROUP_LABELS[group.group]} ({group.asks})"


def truncate(text: str, length: int) -> str:
    """Shorten text to at most ``length`` characters."""
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"


def replace_underscores(name: str) -> str:
    """Replace underscores by spaces: ``ring_a_bell_transfer`` becomes ``"ring a bell transfer"``."""
    return name.replace("_", " ")


def percent_or_dash(value: float | None) -> str:
    """Format a share that may be unknown."""
    return "–" if value is None else percent(value)


def removal_kind(removal: RemovalRecord) -> str:
    """Return the kind as a sentence names it."""
    return {"object": "concept", "unsafe": "unsafe content"}.get(removal.kind, removal.kind)


def destination_clause(removal: RemovalRecord) -> str:
    """Say what the concept's prompts mean after the edit."""
    return {
        "replacement": f"its prompts now mean “{removal.destination}”, as requested",
        "auto": f"its prompts now mean “{removal.destination}”, which was chosen{choice_reason(removal)}",
        "generic": f"its prompts now mean “{removal.destination}”, its generic class",
        "null": "its prompts now read as if they did not name it",
    }[removal.destination_source]


def choice_reason(removal: RemovalRecord) -> str:
    """Say why the automatic replacement was chosen; empty if the record does not list what it was compared with."""
    chosen = next((one for one in removal.candidates if one.name == removal.destination), None)
    if chosen is None:
        return ""
    among = f" among {len(removal.candidates)} names:"
    searched = sum(one.cost is not None for one in removal.candidates)
    judged = "that the judge tells apart from it and " if chosen.similarity is not None else ""
    if not searched:
        return f"{among} of those {judged}that nobody removed, it is forecast to change other prompts least"
    if chosen.cost is None:
        return f"{among} the better ones are removed, too"
    return (
        f"{among} of the {searched} {judged}that are forecast to change other prompts least, its edit is forecast to fail in "
        "the fewest images"
    )


def summary_sentences(report: AuditReport) -> Iterator[str]:
    """Yield a sentence for each removal and for the retained prompts."""
    for index, removal in enumerate(report.removals):
        yield f"The {removal_kind(removal)} “{removal.concept}” was removed: {destination_clause(removal)}."
        if report.validation:
            yield from (target_sentence(group) for group in select_groups(report.validation, "target", index))
    if report.ledger:
        yield from ledger_sentences(report.ledger)
    if report.validation:
        yield from retained_sentences(report.validation)


def ledger_sentences(record: LedgerRecord) -> Iterator[str]:
    """Say which removals were revoked, and how many are active."""
    for concept in record.taken_back:
        yield f"“{concept}” is no longer removed: the weights carry no trace of that edit."
    if record.active:
        yield f"The weights carry every active removal of a ledger: {count_removals(record.active)}."
    else:
        yield EMPTY_LEDGER


def count_removals(number: int) -> str:
    """``"1 removal"``, ``"12 removals"``."""
    return f"{number} removal{'s' if number != 1 else ''}"


def select_groups(validation: Validation, name: str, removal: int | None = None) -> Iterator[GroupScore]:
    """Yield the groups of a name; with ``removal`` only those of that removal."""
    return (g for g in validation.groups if g.group == name and removal in (None, g.removal))


def target_sentence(group: GroupScore) -> str:
    """Say how often the removed concept is still recognised."""
    before, after = group.accuracy_before, group.accuracy_after
    return (
        f"For prompts that name it, the judge recognised it in {percent(before.value)} of the images before the edit and in "
        f"{percent(after.value)} after it (at most {percent(after.high)}, allowing for chance)."
    )


def retained_sentences(validation: Validation) -> Iterator[str]:
    """Say how often the neighbours and unrelated prompts are still recognised."""
    for name in ("neighbours", "retain"):
        for group in select_groups(validation, name):
            before, after = group.accuracy_before, group.accuracy_after
            yield (
                f"{GROUP_NAMES[name]}: the judge recognised {QUESTION_LABELS[group.asks]} in {percent(before.value)} of the "
                f"images before the edit and in {percent(after.value)} after it."
            )


def preprocessing(record: ImagePreprocessing) -> str:
    """Say how the judge's images are resized and normalised, and where that is stated."""
    size = " x ".join(map(str, record.size)) if record.size else "any number of"
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (record.mean, record.std))
    source = "the published values of its model type" if record.source == "model type" else record.source
    return f"{size} pixels ({record.interpolation}), mean {mean}, standard deviation {std}; from {source}"


def choices(group: GroupScore) -> str:
    """Say by what a group's images were recognised, and what it chose from."""
    by = group.judge or "the judge"
    if group.choices is None:
        return f"{by}: all names of its kind"
    rule = CHOICE_LABELS[group.choices.rule].format(
        count=group.choices.count,
        names=", ".join(map(replace_underscores, group.choices.names)),
        threshold=group.choices.threshold,
    )
    return f"{by}: {rule}"
