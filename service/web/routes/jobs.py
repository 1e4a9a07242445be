"""The list of jobs. The URL is the filter."""

from typing import Annotated, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from api_schemas.jobs import Status
from api_schemas.report import Verdict
from service.api.auth import ReadsEdits
from service.api.dependencies import AppStateDep
from service.core import serializers
from service.store import jobs
from service.store.ids import EDIT_ID
from service.web.rendering import render

router = APIRouter(prefix="/jobs")

PAGE_SIZE = 25


@router.get("")
def list_jobs(
    request: Request,
    app_state: AppStateDep,
    caller: ReadsEdits,
    status: Annotated[Status | None, Query()] = None,
    verdict: Annotated[Verdict | None, Query()] = None,
    after: Annotated[str | None, Query(pattern=EDIT_ID)] = None,
) -> Response:
    """Show a page of jobs, newest first."""
    filters = {"status": status, "verdict": verdict}
    with app_state.database.read() as session:
        rows = jobs.list_edits(session, caller.tenant, filters, limit=PAGE_SIZE + 1, after=after)
    edits = [serializers.edit(job) for job in rows[:PAGE_SIZE]]
    older = {name: value for name, value in (filters | {"after": edits[-1].id if edits else None}).items() if value}
    return render(
        request,
        "jobs.html",
        edits=edits,
        filters=filters,
        statuses=get_args(Status),
        verdicts=get_args(Verdict),
        is_filtered=any(filters.values()) or after,
        older_url=f"/jobs?{urlencode(older)}" if len(rows) > PAGE_SIZE else None,
    )
