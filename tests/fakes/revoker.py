"""A fake of `editor.jobs.revocation`. The report's ledger has the remaining removals."""

from tests.fakes import editor
from tests.fakes.editor import JobContext, artifacts, finished, write_snapshot

PHASES = ("edit", "publish")

__all__ = [
    "PHASES",
    "JobContext",
    "artifacts",
    "finished",
    "run_phase",
    "solved_parameters",
    "verdict",
    "write_snapshot",
]


def run_phase(phase: str, context: JobContext) -> None:
    editor.run_phase(phase, context)
    if phase == "publish":
        path = context.workdir / "out" / "report.json"
        report = editor.AuditReport.model_validate_json(path.read_bytes())
        path.write_text(report.model_copy(update={"ledger": editor.ledger_record(context, [])}).model_dump_json())


def solved_parameters(context: JobContext) -> list[dict[str, object]]:
    return []


def verdict(context: JobContext) -> None:
    return None
