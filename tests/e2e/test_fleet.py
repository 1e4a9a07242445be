"""A fleet with the real editor: carried weights are those that a solve gives, and the statement covers every edit."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from api_schemas.edits import EditRequest
from editor import emoji
from service.api.artifact_files import artifact_reader
from service.store import jobs
from service.store.clock import utc_now
from service.store.jobs import NewJob
from service.store.orm import Fleet, FleetTarget, Job

if TYPE_CHECKING:
    from tests.load.fleet import FleetRun

pytestmark = pytest.mark.skipif(
    not (emoji.WEIGHTS / "model_index.json").is_file() or find_spec("torch") is None,
    reason="needs torch and the embedded model's weights",
)


def test_carried_weights_are_those_of_a_solve(tmp_path: Path) -> None:
    from tests.load.fleet import ENCODER, FleetRun

    run = FleetRun.create(tmp_path / "run")
    run.add_checkpoints(2, 1)
    run.settle()
    fleet = run.submit()
    run.settle()
    figures = run.figures(fleet.id)
    assert (figures["status"], figures["solved"], figures["carried"], figures["deltas"]) == ("in_force", 1, 1, 1)
    with run.app_state.database.read() as session:
        (carried,) = session.scalars(select(FleetTarget).where(FleetTarget.carried_from.is_not(None))).all()
        edit = session.get_one(Job, carried.edit_id)
    alone = EditRequest.model_validate(edit.request).model_copy(update={"ledger": False})
    with run.app_state.database.write() as session:
        solved_id = jobs.create(session, NewJob(alone, "key"), now=utc_now()).id
    run.settle()
    with run.app_state.database.read() as session:
        solved, signed = session.get_one(Job, solved_id), session.get_one(Fleet, fleet.id)
        statement = session.get_one(Job, signed.statement_job_id).artifacts
    assert content(run, edit, ENCODER) == content(run, solved, ENCODER)
    assert [file.name for file in statement] == ["statement.intoto.jsonl", "statement.json", "manifest.json"]
    report = json.loads(content(run, edit, "report.json"))
    assert report["verdict"] is None
    assert report["model"]["id"] == carried.model
    assert any(carried.carried_from in limit for limit in report["limits"])


def content(run: "FleetRun", job: Job, name: str) -> bytes:
    artifact = next(file for file in job.artifacts if file.name == name)
    return b"".join(artifact_reader(run.app_state, job, artifact)(0, artifact.size))
