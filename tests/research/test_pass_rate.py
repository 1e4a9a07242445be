"""The table of default requests: which concepts are measured, what is read off a report, and resuming."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from api_schemas.edits import EditRequest, Removal
from api_schemas.errors import UsageError
from api_schemas.gates import Gate
from api_schemas.judging import GroupScore, JudgeRecord, SamplerRecord, Validation
from api_schemas.report import AuditReport, ModelRecord, RemovalRecord
from editor.emoji.vocabulary import OBJECT_NAMES, STYLES
from editor.judging.gates import GateEvidence, decide_gates, make_check
from editor.stats.intervals import estimate_mean, estimate_rate
from research.harness import EmbeddedModel
from research.results.pass_rate import Selection, measure, parse_shard, render

COUNT = 96


def make_report(request: EditRequest) -> AuditReport:
    """Return the report of a removal that leaves every tenth style and no object."""
    (removal,) = request.removals
    left = [float(removal.kind == "style" and i % 10 == 0) for i in range(COUNT)]
    evidence = GateEvidence(Gate(measure="generality_accuracy", threshold=0.05), left, True, [1.0] * COUNT)
    (outcome,) = decide_gates([evidence], 0.95)
    group = GroupScore(
        group="generality",
        removal=0,
        asks=removal.kind,
        prompts=["a prompt"],
        accuracy_before=estimate_rate([1.0] * COUNT),
        accuracy_after=estimate_rate(left),
        accuracy_drop=estimate_mean([1.0] * COUNT),
        score_before=estimate_mean([0.3] * COUNT),
        score_after=estimate_mean([0.1] * COUNT),
    )
    validation = Validation(
        judge=JudgeRecord(id="judge", sha256="0" * 64, shares_weights_with_model=False),
        sampler=SamplerRecord(scheduler="DDIM", steps=20, guidance=3.0, seeds=[0]),
        confidence=0.95,
        groups=[group],
        checks=[make_check(evidence, outcome, "generality accuracy", 0, 1, COUNT, 0.95)],
        images=COUNT,
    )
    record = RemovalRecord(
        concept=removal.concept,
        kind=removal.kind,
        destination="",
        destination_source="null",
        aliases=[],
        edit_prompts=[],
        neighbours=[],
    )
    return AuditReport(
        job_id="offline",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        model=ModelRecord(id=request.model, family="sd1", files={}),
        removals=[record],
        solves=[],
        traces=[],
        validation=validation,
        verdict=outcome,
        limits=[],
        untested=[],
        artifacts=[],
        software={},
    )


def concept_of(request: EditRequest) -> Removal:
    (removal,) = request.removals
    return removal


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> list[EditRequest]:
    """The requests that are run, in place of erasures."""
    run: list[EditRequest] = []

    def erase(request: EditRequest, *others: Any, **options: Any) -> Any:
        run.append(request)
        return SimpleNamespace(report=make_report(request))

    monkeypatch.setattr("research.ordinary_requests.erase", erase)
    return run


def test_every_object_and_style_is_measured_once_over_all_parts() -> None:
    parts = [Selection(shard=(part, 3)).requests() for part in (1, 2, 3)]
    names = [concept_of(request).concept for part in parts for request in part]
    assert sorted(names) == sorted([*OBJECT_NAMES, *STYLES])
    assert len(Selection(objects=10).requests()) == 10 + len(STYLES)
    named = [concept_of(request) for request in Selection(only=("ink", "fox")).requests()]
    assert [(one.concept, one.kind) for one in named] == [("ink", "style"), ("fox", "object")]
    with pytest.raises(UsageError, match="platypus"):
        Selection(only=("platypus",)).requests()
    assert parse_shard("2/4") == (2, 4)
    with pytest.raises(ValueError, match="5/4"):
        parse_shard("5/4")


def test_requests_are_those_of_a_user_without_options_and_run_once(
    tmp_path: Path, requested: list[EditRequest]
) -> None:
    model, reports = EmbeddedModel(tmp_path / "cache"), tmp_path / "reports"
    first = list(measure(model, Selection(only=("fox", "ink")), reports))
    assert [row.concept for row in first] == ["fox", "ink"]
    assert all(request == EditRequest(removals=request.removals) for request in requested)
    again = list(measure(model, Selection(only=("owl",)), reports))
    assert {row.concept for row in again} == {"owl", "fox", "ink"}, "rows of finished reports are kept"
    assert len(requested) == 3
    both = list(measure(model, Selection("emoji-dit", only=("fox",)), reports))
    assert (both[0].model, both[0].concept) == ("emoji-dit", "fox")
    assert len(both) == 4, "each model has its own rows"


def test_the_table_gives_shares_and_each_failure(tmp_path: Path, requested: list[EditRequest]) -> None:
    selection = Selection(only=("fox", "owl", "ink"))
    rows = list(measure(EmbeddedModel(tmp_path), selection, tmp_path / "reports"))
    assert {row.concept: row.verdict for row in rows} == {"fox": "passed", "owl": "passed", "ink": "failed"}
    page = render(rows)
    assert f"| objects of emoji | 2 of {len(OBJECT_NAMES)} | 1.00" in page
    assert "| ink, emoji | (null) | generality accuracy | 0.104" in page
    assert "| fox, emoji |" not in page
