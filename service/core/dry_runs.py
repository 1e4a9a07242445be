"""Dry runs: a worker looks at a request on the quick queue, while its sender waits."""

import asyncio
import statistics
import time

from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api_schemas.edits import EditRequest
from api_schemas.jobs import JobError
from api_schemas.plans import Plan
from api_schemas.problems import InvalidField
from service.core import ledger_conflicts
from service.core.app_state import Backend
from service.core.caller import Caller
from service.errors import PlanRefused, PlanTimeout
from service.store import jobs
from service.store.jobs import NewJob
from service.store.orm import Job

PLAN = "plan.json"
POLL_SECONDS = 0.1
CONTEXTS = 40
"""Prompts about each removal that a validation draws, roughly."""


async def plan(backend: Backend, request: EditRequest, caller: Caller) -> Plan:
    """What the request would do.

    Raises:
        InvalidRequest, LedgerConflict: as `POST /v1/edits` would.
        PlanRefused: the worker would refuse it.
        PlanTimeout: no worker had time.
    """
    job = await run_in_threadpool(_queue, backend, request, caller)
    end = time.monotonic() + backend.settings.plan_seconds
    while job.status in ("queued", "running"):
        if time.monotonic() > end or backend.closing.is_set():
            await run_in_threadpool(_cancel, backend, job)
            raise PlanTimeout(
                f"no worker answered within {backend.settings.plan_seconds:g} s.",
                remedy="Try again, or send the request itself: it is checked then too.",
                headers={"Retry-After": "10"},
            )
        await asyncio.sleep(POLL_SECONDS)
        job = await run_in_threadpool(_look, backend, job)
    return await run_in_threadpool(_result, backend, job)


def _queue(backend: Backend, request: EditRequest, caller: Caller) -> Job:
    backend.phrases.check(request)
    now = backend.clock()
    with backend.database.write() as session:
        if request.ledger:
            ledger_conflicts.refuse_conflicts(session, caller.tenant, request)
        return jobs.create(session, NewJob(request, caller.key_id, caller.tenant, "plan"), now=now)


def _look(backend: Backend, job: Job) -> Job:
    with backend.database.read() as session:
        return session.get_one(Job, job.id)


def _cancel(backend: Backend, job: Job) -> None:
    with backend.database.write() as session:
        jobs.cancel(session, job.id, now=backend.clock())


def _result(backend: Backend, job: Job) -> Plan:
    if job.status != "succeeded":
        error = JobError.model_validate(job.error) if job.error else None
        raise _refused(error)
    (row,) = (row for row in job.artifacts if row.name == PLAN)
    made = Plan.model_validate_json(b"".join(backend.blobs.open(row.sha256, 0, row.size)))
    with backend.database.read() as session:
        seconds = estimated_seconds(session, made.request)
    return made.model_copy(update={"estimate": made.estimate.model_copy(update={"seconds": seconds})})


def estimated_seconds(session: Session, request: EditRequest) -> float | None:
    """By what the latest jobs of the model took for as much work; None: there were none."""
    done = jobs.recent(session, None, {"model": request.model, "status": "succeeded", "kind": "removal"}, limit=20)
    speeds = [
        (job.finished_at - job.started_at).total_seconds() / work_of(EditRequest.model_validate(job.request))
        for job in done
        if job.finished_at and job.started_at
    ]
    return round(statistics.median(speeds) * work_of(request), 1) if speeds else None


def work_of(request: EditRequest) -> float:
    """How much there is to do, in sampler steps of one image; an edit without validation counts as one image."""
    asked = request.validation
    prompts = asked.retain_prompts + CONTEXTS * len(request.removals) if asked.enabled else 0
    return float(asked.steps * (1 + prompts * asked.seeds))


def _refused(error: JobError | None) -> PlanRefused:
    if error is None:
        return PlanRefused("the dry run was stopped.", remedy="Try again.")
    return PlanRefused(error.message, remedy="The job would fail just so.", errors=_fields(error))


def _fields(error: JobError) -> list[InvalidField]:
    """The request's field that is to blame, if one is: `removals[0].concept`, and `/removals/0/concept`."""
    if error.param is None:
        return []
    pointer = "/" + error.param.replace("[", "/").replace("]", "").replace(".", "/")
    return [InvalidField(field=error.param, pointer=pointer, code=error.code, message=error.message, remedy="")]
