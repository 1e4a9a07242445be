"""Jobs with a ledger: revisions, revocations, and jobs that another job overtook."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from api_schemas.edits import EditRequest, Removal
from api_schemas.ledgers import LedgerSnapshot
from service.store import claims, ledgers
from service.store.claims import Claim
from service.store.database import Database
from service.store.jobs import NewJob, create
from service.store.orm import Job
from tests.fakes import editor as fake_editor
from tests.fakes.clock import FakeClock
from worker import ledger_snapshot
from worker.job_protocol import JobModule
from worker.outcomes import OutcomeRecorder, RunResult
from worker.runner import Runner
from worker.settings import WorkerSettings

Ask = Callable[..., str]


@pytest.fixture
def settings(settings: WorkerSettings) -> WorkerSettings:
    return settings.model_copy(update={"revoker": "tests.fakes.revoker", "planner": "tests.fakes.planner"})


@pytest.fixture
def submit_ledger_job(database: Database, clock: FakeClock) -> Ask:
    """Queue a removal that joins the ledger, or the revocation of one."""

    def submit_ledger_job(
        concept: str, tenant: str = "one", revokes: str | None = None, *, withhold: bool = False, **metadata: str
    ) -> str:
        request = EditRequest(
            model="tiny",
            removals=[Removal(concept=concept)],
            ledger=True,
            withhold_names=withhold,
            metadata=metadata,
        )
        clock.advance(1)
        with database.write() as session:
            kind = "revocation" if revokes else "removal"
            return create(session, NewJob(request, "k", tenant, kind, revokes), now=clock()).id

    return submit_ledger_job


def active_concepts(database: Database, tenant: str = "one", number: int | None = None) -> list[str]:
    with database.read() as session:
        return [entry.removal["concept"] for entry in ledgers.active_entries(session, tenant, "tiny", number)]


def head(database: Database, tenant: str = "one") -> tuple[int, int, str] | None:
    with database.read() as session:
        found = ledgers.head(session, tenant, "tiny")
    return (found.number, found.active, found.digest) if found else None


def test_removals_accumulate_and_can_be_revoked(runner: Runner, database: Database, submit_ledger_job: Ask) -> None:
    first = submit_ledger_job("fox")
    runner.run(first)
    alone = head(database)
    runner.run(second := submit_ledger_job("owl"))
    assert active_concepts(database) == ["fox", "owl"]
    runner.run(submit_ledger_job("owl", revokes=second))
    after = head(database)
    assert (active_concepts(database), active_concepts(database, number=2)) == (["fox"], ["fox", "owl"])
    assert alone is not None
    assert after is not None
    assert (after[0], after[1:]) == (3, alone[1:])


def test_what_the_editor_found_is_stored_and_handed_to_later_jobs(
    runner: Runner, database: Database, submit_ledger_job: Ask, settings: WorkerSettings
) -> None:
    runner.run(submit_ledger_job("fox"))
    with database.read() as session:
        (entry,) = ledgers.active_entries(session, "one", "tiny")
    assert entry.parameters == {"candidates": ["not fox"]}
    later = submit_ledger_job("owl")
    with database.write() as session:
        claim = claims.claim(session, later, owner="me", lease=settings.lease, now=runner.clock())
    assert claim is not None
    (handed,) = ledger_snapshot._current_snapshot(database, claim).ledger.active
    assert handed.parameters == entry.parameters


def test_shared_removal_stays_until_both_edits_are_revoked(
    runner: Runner, database: Database, submit_ledger_job: Ask
) -> None:
    runner.run(first := submit_ledger_job("fox"))
    runner.run(second := submit_ledger_job("fox"))
    runner.run(submit_ledger_job("fox", revokes=first))
    assert active_concepts(database) == ["fox"]
    runner.run(submit_ledger_job("fox", revokes=second))
    assert active_concepts(database) == []
    found = head(database)
    assert found is not None
    assert found[:2] == (4, 0)


def test_snapshot_of_the_ledger_says_which_names_are_withheld(
    runner: Runner, database: Database, submit_ledger_job: Ask, settings: WorkerSettings, tmp_path: Path
) -> None:
    runner.run(submit_ledger_job("owl"))
    runner.run(first := submit_ledger_job("fox", withhold=True))
    job_id = submit_ledger_job("fox", revokes=first, withhold=True)
    with database.write() as session:
        claim = claims.claim(session, job_id, owner="me", lease=settings.lease, now=runner.clock())
    assert claim is not None
    model = settings.registry().get("tiny").path
    folder = ledger_snapshot.prepare_ledger(database, claim, cast(JobModule, fake_editor), model, tmp_path / "work")
    assert folder is not None
    handed = LedgerSnapshot.model_validate_json((folder / "ledger.json").read_bytes())
    assert [(one.removal.concept, one.withhold_name) for one in handed.active] == [("owl", False)]
    assert [(one.removal.concept, one.withhold_name) for one in handed.revoked] == [("fox", True)]


def test_unpublished_edit_is_not_added_to_the_ledger(
    runner: Runner, database: Database, submit_ledger_job: Ask, read: Callable[[str], Job]
) -> None:
    """The report gives the reason, and the ledger is unchanged."""
    runner.run(submit_ledger_job("fox"))
    before = head(database)
    runner.run(failed := submit_ledger_job("owl", fail="yes"))
    job = read(failed)
    assert (job.status, job.verdict) == ("succeeded", "failed")
    assert {artifact.kind for artifact in job.artifacts} == {"report", "log", "manifest"}
    assert (head(database), active_concepts(database)) == (before, ["fox"])
    runner.run(submit_ledger_job("cat"))
    assert active_concepts(database) == ["fox", "cat"]


def test_tenants_have_separate_ledgers(runner: Runner, database: Database, submit_ledger_job: Ask) -> None:
    runner.run(submit_ledger_job("fox"))
    runner.run(submit_ledger_job("owl", tenant="two"))
    assert (active_concepts(database), active_concepts(database, "two")) == (["fox"], ["owl"])


def overtaking_job(runner: Runner, monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    """Let another job end just before the first attempt to publish."""
    real = OutcomeRecorder.succeed
    waiting = [other]

    def succeed(self: OutcomeRecorder, claim: Claim, result: RunResult) -> None:
        if waiting:
            replace(runner, settings=runner.settings.model_copy(update={"worker_name": "b"})).run(waiting.pop())
        real(self, claim, result)

    monkeypatch.setattr(OutcomeRecorder, "succeed", succeed)


def test_overtaken_job_is_solved_again(
    runner: Runner,
    database: Database,
    submit_ledger_job: Ask,
    read: Callable[[str], Job],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow, quick = submit_ledger_job("fox"), submit_ledger_job("owl")
    overtaking_job(runner, monkeypatch, quick)
    runner.run(slow)
    job = read(slow)
    assert (job.status, job.attempt, job.artifacts) == ("queued", 0, [])
    assert active_concepts(database) == ["owl"]
    runner.run(slow)
    found = head(database)
    assert read(slow).status == "succeeded"
    assert found is not None
    assert found[:2] == (2, 2)


def test_crash_between_phases_resumes_at_the_next_phase(
    runner: Runner, database: Database, clock: FakeClock, read: Callable[[str], Job]
) -> None:
    request = EditRequest(model="tiny", removals=[Removal(concept="fox")], ledger=True, metadata={"crash": "validate"})
    with database.write() as session:
        job_id = create(session, NewJob(request, "k", "one"), now=clock()).id
    runner.run(job_id)
    runs = runner.settings.workdir(job_id) / "runs"
    assert runs.read_text().split() == ["trace", "edit"]
    runner.run(job_id)
    assert runs.read_text().split() == ["trace", "edit"]


def test_dry_run_does_not_change_the_ledger(runner: Runner, database: Database, clock: FakeClock) -> None:
    request = EditRequest(model="tiny", removals=[Removal(concept="fox")], ledger=True)
    with database.write() as session:
        job = create(session, NewJob(request, "k", "one", "plan"), now=clock())
    runner.run(job.id)
    with database.read() as session:
        assert [file.name for file in session.get_one(Job, job.id).artifacts] == ["plan.json", "manifest.json"]
    assert head(database) is None
