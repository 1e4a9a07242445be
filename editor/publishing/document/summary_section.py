"""What whoever asked for the removal wants to know, in plain words."""

from collections.abc import Iterator

from api_schemas.report import AuditReport
from editor.publishing import report_text
from editor.publishing.document.blocks import Bullets, Paragraph, Section, text


def summary(report: AuditReport) -> Iterator[Section]:
    """Four questions, answered; the last one only of weights that something was removed from."""
    yield Section("asked", "What was asked", [text(asked(report))])
    yield Section("done", "What was done", [text(*done) for done in changes(report)])
    yield Section(
        "means", "What it means", [Paragraph([report_text.headline(report)], leading=True), Bullets([*found(report)])]
    )
    if not report_text.emptied(report):
        yield Section("means-not", "What it does not mean", [Bullets([*not_meant(report)])])


def asked(report: AuditReport) -> str:
    """The request in a sentence."""
    if not report.removals:
        return f"To bring the model “{report.model.id}” to the state of its ledger."
    removed = ", ".join(f"the {report_text.kind(removal)} “{removal.concept}”" for removal in report.removals)
    return f"To remove {removed} from the model “{report.model.id}”, and to leave all else as it was."


def changes(report: AuditReport) -> Iterator[tuple[str, ...]]:
    """What became of each concept, and how much of the model changed."""
    for removal in report.removals:
        yield (f"“{removal.concept}”: {report_text.destination(removal)}.",)
    if report.ledger:
        yield (" ".join(report_text.ledger(report.ledger)),)
    if report.refused:
        yield (report.refused,)
    if report.refused or report_text.emptied(report):
        return
    tensors = f"{len(report.solves)} tensor{'s' if len(report.solves) != 1 else ''}"
    yield (f"{tensors} of the part that reads prompts changed. All other bytes of the model are as they were.",)


def found(report: AuditReport) -> Iterator[str]:
    """What was measured, group by group."""
    if report_text.emptied(report):
        yield "The model draws again whatever it drew before the first removal."
        return
    if report.validation is None:
        yield "Whether the concept is gone, and whether all else has stayed, was not measured."
        return
    for index, removal in enumerate(report.removals):
        for group in report_text.groups(report.validation, "target", index):
            yield f"“{removal.concept}”. {report_text.found(group)}"
    yield from (
        report_text.kept(g) for name in ("neighbours", "retain") for g in report_text.groups(report.validation, name)
    )


def not_meant(report: AuditReport) -> Iterator[str]:
    """What nobody should conclude."""
    yield "Not that the model cannot be made to draw it at all: what is known not to be covered is listed below."
    yield "Not that its training data, or copies of the original model elsewhere, have changed."
    if report.untested:
        yield "Not that everything was tested: what was not is listed below as well."
