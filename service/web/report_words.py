"""The figures of an audit report in plain words. Values are plain text: templates escape them."""

from collections.abc import Mapping

from api_schemas.attacks import Rate
from api_schemas.gates import Measure
from api_schemas.judging import GroupName
from api_schemas.report import AuditReport, Check, Estimate, GroupScore, TraceRecord, Verdict

HEADLINES: Mapping[Verdict | None, str] = {
    "passed": "Every measured figure meets its threshold.",
    "failed": "At least one measured figure misses its threshold.",
    "inconclusive": "The test was too small to decide whether every threshold is met.",
    None: "The result was not evaluated: no images were generated.",
}
MEASURES: Mapping[Measure, str] = {
    "target_accuracy": "Prompts that name the concept still show it",
    "generality_accuracy": "Other wordings still show it",
    "neighbour_drop": "Loss on the nearest other concepts",
    "retain_object_drop": "Loss on unrelated objects",
    "retain_style_drop": "Loss on unrelated styles",
    "retain_similarity": "Similarity of unrelated images",
    "destination_drop": "Loss of the replacement, where the concept was",
    "styled_object_drop": "Loss of the object in the removed style",
    "other_removed_accuracy": "Another removed concept appears",
}
GROUPS: Mapping[GroupName, str] = {
    "target": "prompts that name it",
    "generality": "other wordings",
    "neighbours": "nearest concepts",
    "retain": "unrelated prompts",
    "destination": "shows its replacement",
    "styled_objects": "objects in the removed style",
    "other_removed": "other removed concepts",
}
PROMPT = "a picture of"


def percent(value: float) -> str:
    """Return a share: `0.934` is `93%`, `0.0123` is `1.2%`."""
    scaled = 100 * value
    text = f"{scaled:.1f}" if abs(scaled) < 10 else f"{scaled:.0f}"
    return f"{text.removesuffix('.0')}%"


def share(estimate: Estimate | Rate) -> str:
    """Return a share with its interval, such as `93% (88% to 97%)`."""
    return f"{percent(estimate.value)} ({percent(estimate.low)} to {percent(estimate.high)})"


def concept_name(report: AuditReport, removal: int | None) -> str:
    """Return the concept that a figure is about; empty for figures about all removals."""
    return "" if removal is None or removal >= len(report.removals) else report.removals[removal].concept


def check_label(report: AuditReport, check: Check) -> str:
    """Name a gate."""
    return _about(MEASURES[check.measure], concept_name(report, check.removal))


def group_label(report: AuditReport, group: GroupScore) -> str:
    """Name a group of prompts."""
    label = f"{GROUPS[group.group]} ({'object and style' if group.asks == 'both' else group.asks})"
    return _about(label.capitalize(), concept_name(report, group.removal))


def check_sentence(check: Check) -> str:
    """Say what was measured, what the threshold is and what follows."""
    side = "at most" if check.comparator == "<=" else "at least"
    required = f"Measured {share(check.measured)}; the threshold is {side} {percent(check.threshold)}."
    return f"{required} {check.reason}".strip()


def example_prompt(report: AuditReport, trace: TraceRecord) -> list[tuple[str, bool]]:
    """Return the words of a traced prompt, and whether each is one of the concept's, whose last one was restored."""
    removal = report.removals[trace.removal]
    own = [prompt for prompt in removal.edit_prompts if removal.concept.casefold() in prompt.casefold()]
    prompt = own[0] if own else f"{PROMPT} {removal.concept}"
    before, concept, after = prompt.casefold().partition(removal.concept.casefold())
    start = len(before.split())
    span = range(start, start + len(concept.split()))
    return [(word, index in span) for index, word in enumerate(prompt.split())] if after is not None else []


def _about(label: str, concept: str) -> str:
    return f"{label} – {concept}" if concept else label
