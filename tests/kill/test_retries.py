"""The API is killed while it puts a new job in the place of a failed one. Nothing that waits for the job loses it."""

import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select

from api_schemas.cases_requests import CaseRequest, DecisionBody
from api_schemas.edits import Removal
from api_schemas.fleets import FleetRequest, FleetSelector
from api_schemas.jobs import JobError
from api_schemas.registrations import ModelRegistration
from service.store import audit, claims
from service.store.clock import utc_now
from service.store.database import Database, sqlite_url
from service.store.failpoints import RETRY_FAILPOINTS
from service.store.orm import Job
from tests.fakes.desk import ERASE, NOTICE
from tests.fakes.model import write_model
from tests.fakes.stack import Stack, running_stack, wait_until
from tests.kill.cluster import Cluster
from tests.kill.faults import Fault, fault_injector

POINTS = (*RETRY_FAILPOINTS, "accept.written", "accept.committed")
LEASE = timedelta(seconds=30)


@contextmanager
def cluster_of(folder: Path) -> Iterator[Cluster]:
    """A service whose processes can be killed at a failpoint."""
    with tempfile.TemporaryDirectory(prefix="expunge-kill-", dir="/tmp") as short:
        found: list[Cluster] = []
        settings = {
            "EXPUNGE_FAULTS": f"{short}/faults",
            "EXPUNGE_CASE_UNDO_SECONDS": "0.1",
            "EXPUNGE_HEALTHY_SECONDS": "0",
            "EXPUNGE_MODEL_ROOTS": json.dumps([str(folder)]),
        }
        with (
            fault_injector(Path(short) / "faults", lambda fault: found[0].apply_fault(fault)) as injector,
            running_stack(folder / "data", **settings) as stack,
        ):
            database = Database(sqlite_url(folder / "data" / "expunge.db"))
            found.append(Cluster(stack, database, None, 0, injector=injector))
            yield found[0]
            database.close()


def post(stack: Stack, path: str, **headers: str) -> Any:
    """Send a request until it is answered, as a client does that is not told what became of it."""
    while True:
        with suppress(httpx.TransportError):
            reply = httpx.post(stack.url + path, headers=stack.authorization | headers, timeout=30)
            if reply.status_code < 500:
                assert reply.is_success, reply.text
                return reply.json()


def decide_case(stack: Stack, concept: str) -> Callable[[], Any]:
    """Open and decide a case. Returns a function that reads its target."""
    body = {"bases": ["us-dmca"], "notice": NOTICE, "models": ["tiny"]}
    case = stack.client.cases.create(CaseRequest.model_validate(body, strict=False))
    stack.client.cases.decide(case, DecisionBody.model_validate(ERASE | {"removal": {"concept": concept}}))
    return lambda: stack.client.cases.get(case.id).targets[0]


def create_fleet(stack: Stack, concept: str) -> Callable[[], Any]:
    """Create a fleet of one model. Returns a function that reads its target."""
    request = FleetRequest(selector=FleetSelector(models=["new"]), removals=[Removal(concept=concept)])
    fleet = stack.client.fleets.create(request)
    return lambda: next(iter(stack.client.fleets.targets(fleet.id)))


def wait_for_edit(target: Callable[[], Any]) -> str:
    wait_until(lambda: target().edit)
    return str(target().edit)


def fail(database: Database, job_id: str) -> None:
    with database.write() as session:
        claim = claims.claim(session, job_id, owner="test", lease=LEASE, now=utc_now())
        assert claim
        claims.fail(session, claim, JobError(code="crashed", message="crashed"), now=utc_now())


def retry_and_kill(cluster: Cluster, failed: str, point: str) -> str:
    """Let a job fail, and retry it while the API is killed. Returns the new job."""
    fail(cluster.database, failed)
    again: list[str] = []
    key = {"Idempotency-Key": failed}
    client = threading.Thread(target=lambda: again.append(post(cluster.stack, f"/v1/jobs/{failed}/retry", **key)["id"]))
    client.start()
    cluster.inject(Fault(point, "api", "kill"))
    client.join(60)
    return again[0]


def test_killed_api_loses_no_retry(tmp_path: Path) -> None:
    with cluster_of(tmp_path) as cluster:
        stack = cluster.stack
        stack.client.models.register(ModelRegistration(id="new", path=str(write_model(tmp_path / "new"))))
        wait_until(lambda: stack.client.models.get("new").status == "admitted", 90)
        again: dict[str, str] = {}
        for number, point in enumerate(POINTS):
            post(stack, "/v1/queues/edits/pause")
            targets = decide_case(stack, f"fox {number}"), create_fleet(stack, f"owl {number}")
            failed = [wait_for_edit(target) for target in targets]
            retried = [retry_and_kill(cluster, job, point) for job in failed]
            again |= zip(failed, retried, strict=True)
            post(stack, "/v1/queues/edits/resume")
            for target in targets:
                wait_until(lambda target=target: target().state == "in_force", 60)
            assert [target().edit for target in targets] == retried
        assert cluster.unreached == []
        with cluster.database.read() as session:
            edits = session.scalars(select(Job.id).where(Job.kind == "removal")).all()
            assert sorted(edits) == sorted([*again, *again.values()]), "each retry made one job"
            assert audit.verify(session).fault is None
