"""A job of many removals reports progress throughout, and stops wherever it is canceled."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from api_schemas.edits import EditRequest
from api_schemas.ledgers import LedgerSnapshot
from editor import jobs
from editor.emoji import WEIGHTS
from editor.jobs import dry_run

REMOVALS = [{"concept": f"thing {number}"} for number in range(4)]
REQUEST = EditRequest.model_validate(
    {"removals": REMOVALS, "model": "emoji", "ledger": True, "validation": {"enabled": False}}
)
Progress = Callable[[str, float, str], None]


class CanceledError(Exception):
    pass


def make_context(workdir: Path, progress: Progress) -> jobs.JobContext:
    values: dict[str, Any] = {
        "request": REQUEST,
        "model_dir": WEIGHTS,
        "cache_dir": workdir / "cache",
        "job_id": "edit_1",
    }
    now, empty = datetime(2026, 1, 2, tzinfo=UTC), LedgerSnapshot(active=[], revoked=[])
    ledger = jobs.write_snapshot(workdir / "ledger", WEIGHTS, empty) or workdir / "ledger"
    return jobs.JobContext(**values, workdir=workdir, progress=progress, now=now, ledger=ledger, label="edit_1")


def run(module: ModuleType, phases: tuple[str, ...], context: jobs.JobContext) -> None:
    for phase in phases:
        module.run_phase(phase, context)


def cancel_at(call: int, canceled_phase: str) -> Progress:
    """Cancel at a call of one phase. Earlier phases may call less often in a process that has loaded the model."""
    calls = itertools.count()

    def progress(phase: str, fraction: float, message: str) -> None:
        if phase == canceled_phase and next(calls) == call:
            raise CanceledError

    return progress


@pytest.mark.parametrize(("module", "phases"), [(jobs, jobs.PHASES), (dry_run, dry_run.PHASES)])
def test_every_phase_reports_progress_and_can_be_canceled(
    module: ModuleType, phases: tuple[str, ...], tmp_path: Path
) -> None:
    calls: list[tuple[str, float]] = []
    run(module, phases, make_context(tmp_path / "whole", lambda phase, done, message: calls.append((phase, done))))
    for phase in ("edit", "publish") if module is jobs else phases:
        fractions = [done for own, done in calls if own == phase]
        assert fractions == sorted(fractions), phase
        assert len(set(fractions)) >= 5, phase
        assert fractions[-1] == pytest.approx(1.0), phase
    count = sum(phase == phases[-1] for phase, _ in calls)
    with pytest.raises(CanceledError):
        run(module, phases, make_context(tmp_path / "canceled", cancel_at(count // 2, phases[-1])))
