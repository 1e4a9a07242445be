"""Kill processes in every transaction of fleets, admissions, registrations and calibrations.

    python -m tests.kill.fleets [--store sqlite|postgres]

A client registers models, creates a fleet that follows, registers a model that the fleet must edit before it is served,
calibrates it, and revokes its edit, again and again, while processes are killed. Afterwards nothing may be lost, and nothing
may have been done twice. Prints a summary as JSON; exit code 1: there are violations.
"""

import argparse
import json
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from api_schemas.edits import Removal
from api_schemas.errors import ClientError
from api_schemas.fleets import FleetRequest, FleetSelector
from api_schemas.registrations import ModelRegistration
from service.store import audit, fleets
from service.store.database import Database, sqlite_url
from service.store.orm import Artifact, AuditLine, Fleet, Job, ModelCalibration, RegisteredFile, Revision
from service.store.orm import ModelRegistration as RegistrationRow
from tests.fakes import postgres
from tests.fakes.model import WEIGHTS, write_model
from tests.fakes.stack import Stack, running_stack
from tests.kill.cluster import Cluster
from tests.kill.faults import Fault, fault_injector
from tests.kill.invariants import check_blobs, check_events

PASSED_BY = {
    "model.registered": "api",
    "model.written": "child",
    "fleet.created": "api",
    "fleet.accepted": "api",
    "model.quarantined": "child",
    "fleet.queued": "dispatcher",
    "fleet.written": "dispatcher",
    "fleet.committed": "dispatcher",
    "fleet.carried": "dispatcher",
    "delta.carried": "child",
    "fleet.stated": "dispatcher",
    "statement.written": "child",
    "fleet.ended": "dispatcher",
    "model.admitted": "dispatcher",
    "calibration.written": "child",
}
"""The failpoints in the order in which a fleet passes them, and the process that passes each."""
OTHERS = ("worker", "broker")
"""Processes that pass none of them, and are killed at each too."""
SECONDS = 90.0
EXPECTED = {"registration": 3, "removal": 3, "calibration": 1, "revocation": 1, "statement": 3}
"""Jobs of one fleet with its models: one edit is solved and two are carried over. Each end of the fleet has a statement: with
two models, with three, and after the revocation."""
EXPECTED_LINES = {
    "model.register": 3,
    "fleet.create": 1,
    "model.quarantine": 1,
    "model.admit": 1,
    "edit.revoke": 1,
    "fleet.end": 3,
}

T = TypeVar("T")


def persist(call: Callable[[], T], until: Callable[[T], object] = lambda _: True) -> T:
    """Call until there is a reply that satisfies a condition, as a client does whose requests fail or get no answer."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            if until(reply := call()):
                return reply
        except ClientError:
            pass
        time.sleep(0.1)
    raise AssertionError("the service did not recover")


class Feeder:
    """A client that creates one fleet after another. `done` fleets went through to the end."""

    def __init__(self, stack: Stack, models: Path) -> None:
        self._client, self._models = stack.client, models
        self.closing, self.done = threading.Event(), 0
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self.closing.is_set():
            self._live(self.done)
            self.done += 1

    def _live(self, number: int) -> None:
        label = f"fleet-{number}"
        for name in ("a", "b"):
            self._register(label, name)
        request = FleetRequest(selector=FleetSelector(labels=[label]), removals=[Removal(concept="fox")], follow=True)
        fleet = persist(lambda: self._client.fleets.create(request, idempotency_key=label))
        persist(lambda: self._client.fleets.get(fleet.id), lambda one: one.finished_at and one.counts.in_force == 2)
        late = self._register(label, "late")
        job = persist(lambda: self._client.models.calibrate(late, idempotency_key=late))
        persist(lambda: self._client.models.calibration(job.id), lambda one: one.status == "succeeded")
        persist(lambda: self._client.fleets.get(fleet.id), lambda one: one.finished_at and one.counts.in_force == 3)
        edit = next(one.edit for one in self._client.fleets.targets(fleet.id) if one.model == late)
        persist(lambda: self._client.edits.revoke(edit or ""))
        persist(lambda: self._client.fleets.get(fleet.id), lambda one: one.finished_at and one.counts.revoked == 1)

    def _register(self, label: str, name: str) -> str:
        """Register a model with the text encoder of its fleet, and wait until it is admitted."""
        model_id = f"{label}-{name}"
        (write_model(self._models / model_id) / WEIGHTS).write_bytes(label.encode() * 1000)
        body = ModelRegistration(id=model_id, path=str(self._models / model_id), labels=[label])
        persist(lambda: self._client.models.register(body, idempotency_key=model_id))
        persist(lambda: self._client.models.get(model_id), lambda one: one.status == "admitted")
        return model_id


def run(folder: Path, faults: Sequence[Fault], store: str = "sqlite") -> tuple[int, list[str]]:
    """Inject faults into a new service. Returns the number of fleets and the violations."""
    with ExitStack() as stack:
        short = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="expunge-kill-", dir="/tmp")))
        server = stack.enter_context(postgres.running_server()) if store == "postgres" else None
        url = server.create() if server else sqlite_url(folder / "data" / "expunge.db")
        (models := folder / "registered").mkdir()
        settings = {
            "EXPUNGE_DATABASE_URL": url if server else "",
            "EXPUNGE_MODEL_ROOTS": json.dumps([str(models)]),
            "EXPUNGE_FAULTS": str(short / "faults"),
            "EXPUNGE_LEASE_SECONDS": "2",
            "EXPUNGE_HEARTBEAT_SECONDS": "0.4",
            "EXPUNGE_RETRY_SECONDS": "0.2",
            "EXPUNGE_HEALTHY_SECONDS": "0",
        }
        clusters: list[Cluster] = []
        injector = stack.enter_context(fault_injector(short / "faults", lambda fault: clusters[0].apply_fault(fault)))
        running = stack.enter_context(running_stack(folder / "data", **settings))
        database = Database(url)
        stack.callback(database.close)
        clusters.append(Cluster(running, database, server, 0, injector=injector))
        feeder = Feeder(running, models)
        feeder.thread.start()
        for fault in faults:
            clusters[0].inject(fault)
        feeder.closing.set()
        feeder.thread.join(2 * SECONDS)
        found = clusters[0].unreached + (["a fleet did not end"] if feeder.thread.is_alive() else [])
        return feeder.done, found + violations(database, feeder.done, clusters[0].blob_contents())


def violations(database: Database, count: int, blobs: dict[str, bytes]) -> list[str]:
    """Return what is wrong after a number of fleets went through to the end."""
    with database.read() as session:
        jobs = session.scalars(select(Job)).all()
        kinds = Counter(job.kind for job in jobs)
        found = [f"{job.id} is {job.status}: {job.error}" for job in jobs if job.status != "succeeded"]
        found += [f"{job.id}: {one}" for job in jobs for one in check_events(session, job)]
        lines = Counter(session.scalars(select(AuditLine.action)))
        found += _check_counts("jobs", kinds, EXPECTED, count)
        found += _check_counts("audit lines", lines, EXPECTED_LINES, count)
        rows = session.scalars(select(Fleet)).all()
        for fleet in rows:
            found += [f"{fleet.id}: {one}" for one in _check_fleet(session, fleet)]
        if len(rows) != count or len(session.scalars(select(ModelCalibration)).all()) != count:
            found.append(f"{len(rows)} fleets of {count}")
        found += _check_registrations(session)
        if fault := audit.verify(session).fault:
            found.append(fault)
    return found + list(check_blobs(blobs))


def _check_counts(what: str, counts: Counter[str], expected: dict[str, int], times: int) -> Iterator[str]:
    for name, number in expected.items():
        if counts[name] != times * number:
            yield f"{what}: {counts[name]} {name}, after {times} fleets"


def _check_fleet(session: Session, fleet: Fleet) -> Iterator[str]:
    """Check that each model has one edit and one revision, that one edit was solved, and that the statement is there."""
    rows = fleets.targets(session, fleet.id)
    states = [(row.state, bool(row.carried_from)) for row in rows]
    if sorted(states) != [("in_force", False), ("in_force", True), ("revoked", True)]:
        yield f"its targets are {states}"
    made = session.execute(
        select(Revision.model, Revision.job_id).where(Revision.model.in_([row.model for row in rows]))
    )
    revocations = fleets.revocations_of(session, rows)
    jobs = {(row.model, job) for row in rows for job in (row.edit_id, revocations.get(row.edit_id or "")) if job}
    if sorted(map(tuple, made)) != sorted(jobs):
        yield "its models have other revisions"
    edits = [row.edit_id for row in rows]
    deltas = select(Artifact.sha256).where(Artifact.job_id.in_(edits), Artifact.name == "delta.safetensors")
    if len(found := session.scalars(deltas).all()) != len(rows) or len(set(found)) != 1:
        yield f"its deltas are {found}"
    if not session.scalars(select(Artifact).where(Artifact.job_id == fleet.statement_job_id)).all():
        yield "it has no statement"


def _check_registrations(session: Session) -> Iterator[str]:
    files = Counter(session.scalars(select(RegisteredFile.model_id)))
    for row in session.scalars(select(RegistrationRow).where(RegistrationRow.source == "path")):
        if row.job_id or not row.encoders or not files[row.id]:
            yield f"{row.id} waits for {row.job_id}, with {files[row.id]} files"


def all_faults() -> list[Fault]:
    """Return a kill of the process that passes a failpoint and of each of the others, for every failpoint."""
    own = [Fault(point, victim, "kill") for point, victim in PASSED_BY.items()]
    return own + [Fault(point, victim, "kill") for victim in OTHERS for point in PASSED_BY]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.kill.fleets", description=__doc__)
    parser.add_argument("--store", choices=["sqlite", "postgres"], default="sqlite")
    store = parser.parse_args().store
    with tempfile.TemporaryDirectory(prefix="expunge-kill-") as folder:
        count, found = run(Path(folder), all_faults(), store)
    summary: dict[str, Any] = {"store": store, "faults": len(all_faults()), "fleets": count, "violations": found}
    print(json.dumps(summary))
    raise SystemExit(1 if found else 0)


if __name__ == "__main__":
    main()
