"""A process is killed in each transaction that changes a case. No case, decision or edit is lost or made twice."""

import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from sqlalchemy import select

from api_schemas.cases import Case
from api_schemas.cases_requests import CaseRequest, DecisionBody
from api_schemas.errors import ClientError
from service.store import audit, cases
from service.store.cases_orm import Case as CaseRow
from service.store.cases_orm import CaseDecision
from service.store.database import Database, sqlite_url
from service.store.failpoints import CASE_FAILPOINTS
from service.store.orm import Job
from tests.fakes.desk import ERASE, NOTICE
from tests.fakes.stack import Stack, running_stack, wait_until
from tests.kill.cluster import Cluster
from tests.kill.faults import Fault, fault_injector

VICTIMS = {"case": "api", "sweep": "dispatcher"}
FAULTS = [Fault(point, VICTIMS[point.partition(".")[0]], "kill") for point in CASE_FAILPOINTS]


def open_and_decide(stack: Stack, number: int) -> None:
    """Open a case and decide it, as a client does that is not told what became of its requests."""
    body = {"bases": ["us-dmca"], "notice": NOTICE, "models": ["tiny"]}
    request = CaseRequest.model_validate(body, strict=False)
    decision = DecisionBody.model_validate(ERASE | {"removal": {"concept": f"fox {number}"}})
    case: Case | None = None
    while case is None or (case.state == "open" and case.pending_decision is None):
        with suppress(ClientError):
            case = stack.client.cases.create(request, idempotency_key=f"case-{number}")
            case = stack.client.cases.get(case.id)
            if case.state == "open":
                case = stack.client.cases.decide(case, decision)
        time.sleep(0.05)


def faults_found(database: Database, opened: int) -> list[str]:
    """Return what is wrong with the stored cases."""
    found = []
    with database.read() as session:
        rows = session.scalars(select(CaseRow)).all()
        jobs = session.scalars(select(Job)).all()
        decided = [row.case_id for row in session.scalars(select(CaseDecision))]
        if len(rows) != opened or sorted(decided) != sorted(row.id for row in rows):
            found.append(f"{len(rows)} cases of {opened}, {len(decided)} decisions")
        if sorted(job.id for job in jobs) != sorted(target.edit_id or "" for row in rows for target in row.targets):
            found.append(f"{len(jobs)} edits")
        for row in rows:
            numbers = [event.seq for event in cases.events(session, row.id, after=0, limit=100)]
            if row.state != "in_force" or not row.statement_id or numbers != list(range(1, len(numbers) + 1)):
                found.append(f"{row.reference} is {row.state}, with events {numbers}")
        if fault := audit.verify(session).fault:
            found.append(fault)
    return found


def test_killed_processes_lose_no_case(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="expunge-kill-", dir="/tmp") as short:
        clusters: list[Cluster] = []
        settings = {
            "EXPUNGE_FAULTS": f"{short}/faults",
            "EXPUNGE_CASE_UNDO_SECONDS": "0.1",
            "EXPUNGE_HEALTHY_SECONDS": "0",
        }
        with (
            fault_injector(Path(short) / "faults", lambda fault: clusters[0].apply_fault(fault)) as injector,
            running_stack(tmp_path / "data", **settings) as stack,
        ):
            database = Database(sqlite_url(tmp_path / "data" / "expunge.db"))
            clusters.append(Cluster(stack, database, None, 0, injector=injector))
            for number, fault in enumerate(FAULTS):
                client = threading.Thread(target=open_and_decide, args=[stack, number])
                client.start()
                clusters[0].inject(fault)
                client.join(60)
            assert clusters[0].unreached == []
            with suppress(AssertionError):  # what is not in force is among the faults
                wait_until(lambda: faults_found(database, len(FAULTS)) == [], 60)
            assert faults_found(database, len(FAULTS)) == []
            database.close()
