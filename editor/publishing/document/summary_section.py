"""The summary, in plain words, for the people who requested the removal."""

from collections.abc import Iterator

from api_schemas.report import AuditReport
from editor.publishing import report_text
from editor.publishing.document.blocks import Bullets, Paragraph, Section, paragraph


def summary_sections(report: AuditReport) -> Iterator[Section]:
    """Answer four questions; the last one only if a removal is active."""
    yield Section("asked", "What was requested", [paragraph(request_sentence(report))])
    yield Section("done", "What was done", [paragraph(sentence) for sentence in change_sentences(report)])
    headline, results = report_text.headline(report), Bullets([*result_sentences(report)])
    yield Section("means", "What it means", [Paragraph([headline], leading=True), results])
    if not report_text.is_empty_ledger(report):
        yield Section("means-not", "What it does not mean", [Bullets([*disclaimers(report)])])


def request_sentence(report: AuditReport) -> str:
    """State the request."""
    if not report.removals:
        return f"Bring the model “{report.model.id}” to the state of its ledger."
    removed = ", ".join(f"the {report_text.removal_kind(removal)} “{removal.concept}”" for removal in report.removals)
    return f"Remove {removed} from the model “{report.model.id}”, and leave everything else unchanged."


def change_sentences(report: AuditReport) -> Iterator[str]:
    """State what happened to each concept, and how much of the model changed."""
    for removal in report.removals:
        yield f"“{removal.concept}”: {report_text.destination_clause(removal)}."
    if report.ledger:
        yield " ".join(report_text.ledger_sentences(report.ledger))
    if report.refused:
        yield report.refused
    if report.refused or report_text.is_empty_ledger(report):
        return
    tensors = f"{len(report.solves)} tensor{'s' if len(report.solves) != 1 else ''}"
    yield f"{tensors} of the text encoder changed. All other bytes of the model are unchanged."


def result_sentences(report: AuditReport) -> Iterator[str]:
    """State what was measured, group by group."""
    if report_text.is_empty_ledger(report):
        yield "The model again generates everything that it generated before the first removal."
        return
    if report.validation is None:
        yield "It was not measured whether the concept is gone and everything else is retained."
        return
    for index, removal in enumerate(report.removals):
        for group in report_text.select_groups(report.validation, "target", index):
            yield f"“{removal.concept}”. {report_text.target_sentence(group)}"
    yield from report_text.retained_sentences(report.validation)


def disclaimers(report: AuditReport) -> Iterator[str]:
    """State what must not be concluded from the report."""
    yield "It does not mean that the model can never generate the concept: the known gaps are listed below."
    yield "It does not mean that the training data, or copies of the original model elsewhere, have changed."
    if report.untested:
        yield "It does not mean that everything was tested: what was not tested is listed below as well."
