"""Dry runs: a worker on the quick queue evaluates a request while the client waits."""

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

from sqlalchemy.orm import Session

from api_schemas.edits import EditRequest
from api_schemas.jobs import JobError
from api_schemas.plans import Plan
from api_schemas.problems import InvalidField
from service.core import edits
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.edits import PendingDryRun
from service.errors import PlanRefused, PlanTimeout
from service.store import jobs
from service.store.orm import Job

PLAN_FILE = "plan.json"
POLL_SECONDS = 0.1
ABANDONED_AFTER = timedelta(seconds=10)
"""A dry run that is still queued this long after its time limit has lost its API process, and expires."""
PROMPTS_PER_REMOVAL = 40
"""Prompts about each removal that validation generates images for, approximately."""

TYPICAL_STEPS = 20
"""Sampler steps per image of a request that leaves them to the model."""


async def run_dry_run(
    app_state: AppState, request: EditRequest, caller: Caller, is_disconnected: Callable[[], Awaitable[bool]]
) -> Plan:
    """Return what the request would do. If the client closes the connection, the dry run is canceled.

    Raises:
        InvalidRequest, LedgerConflict: As `POST /v1/edits` would.
        TooManyPlans, PlanQueueFull: Too many dry runs are queued or running.
        PlanRefused: The job would fail.
        PlanTimeout: No worker answered in time.
    """
    job = await asyncio.to_thread(_create_job, app_state, request, caller)
    end = time.monotonic() + app_state.settings.plan_seconds
    while job.status in ("queued", "running"):
        if time.monotonic() > end or app_state.shutting_down.is_set() or await is_disconnected():
            await asyncio.to_thread(_cancel, app_state, job)
            raise PlanTimeout(
                f"No worker finished the dry run within {app_state.settings.plan_seconds:g} s.",
                remedy="Try again later, or send the request itself, which is checked in the same way.",
                headers={"Retry-After": "10"},
            )
        await asyncio.sleep(POLL_SECONDS)
        job = await asyncio.to_thread(_load_job, app_state, job.id)
    return await asyncio.to_thread(_load_plan, app_state, job)


def _create_job(app_state: AppState, request: EditRequest, caller: Caller) -> Job:
    max_queue_time = timedelta(seconds=app_state.settings.plan_seconds) + ABANDONED_AFTER
    submission = edits.submit(app_state, PendingDryRun(caller, request, max_queue_time))
    return _load_job(app_state, json.loads(submission.reply.body)["id"])


def _load_job(app_state: AppState, job_id: str) -> Job:
    with app_state.database.read() as session:
        return session.get_one(Job, job_id)


def _cancel(app_state: AppState, job: Job) -> None:
    with app_state.database.write() as session:
        jobs.cancel(session, job.id, now=app_state.clock())


def _load_plan(app_state: AppState, job: Job) -> Plan:
    if job.status != "succeeded":
        raise _plan_refused(JobError.model_validate(job.error) if job.error else None)
    (row,) = (row for row in job.artifacts if row.name == PLAN_FILE)
    stored = Plan.model_validate_json(b"".join(app_state.blobs.open(row.sha256, 0, row.size)))
    with app_state.database.read() as session:
        seconds = estimate_seconds(session, stored.request) or stored.estimate.seconds
    return stored.model_copy(update={"estimate": stored.estimate.model_copy(update={"seconds": seconds})})


def estimate_seconds(session: Session, request: EditRequest) -> float | None:
    """Estimate the run time from the latest jobs of the model; None if there are none."""
    recent = jobs.list_edits(
        session, None, {"model": request.model, "status": "succeeded", "kind": "removal"}, limit=20
    )
    seconds_per_step = [
        (job.finished_at - job.started_at).total_seconds()
        / count_sampler_steps(EditRequest.model_validate(job.request))
        for job in recent
        if job.finished_at and job.started_at
    ]
    return round(statistics.median(seconds_per_step) * count_sampler_steps(request), 1) if seconds_per_step else None


def count_sampler_steps(request: EditRequest) -> float:
    """Return the work of a request in sampler steps. An edit without validation counts as one image."""
    validation = request.validation
    prompts = validation.retain_prompts + PROMPTS_PER_REMOVAL * len(request.removals) if validation.enabled else 0
    return float((validation.steps or TYPICAL_STEPS) * (1 + prompts * validation.seeds))


def _plan_refused(error: JobError | None) -> PlanRefused:
    if error is None:
        return PlanRefused("The dry run was stopped.", remedy="Try again.")
    return PlanRefused(error.message, remedy="The job would fail with the same error.", errors=_invalid_fields(error))


def _invalid_fields(error: JobError) -> list[InvalidField]:
    """Return the field of the request that caused the error, if there is one."""
    if error.param is None:
        return []
    pointer = "/" + error.param.replace("[", "/").replace("]", "").replace(".", "/")
    return [InvalidField(field=error.param, pointer=pointer, code=error.code, message=error.message, remedy="")]
