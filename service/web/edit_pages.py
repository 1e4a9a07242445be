"""What the pages about one edit share: its row, its files, and the list from which an edit is chosen."""

from collections.abc import Sequence

from fastapi import Request, Response

from api_schemas.comparisons import Comparison
from service.api.routes.artifacts import direct_response
from service.core import serializers
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.comparisons import Order, read_comparison
from service.errors import NotFound
from service.store import jobs
from service.store.orm import Artifact, Job
from service.web.rendering import render

LISTED_EDITS = 50
REPORT_FILE = "report.json"


def find_file(job: Job, name: str) -> Artifact | None:
    """Return a published file of a job, or None."""
    return next((file for file in job.artifacts if file.name == name), None)


def find_comparison(app_state: AppState, job: Job, order: Order = "group") -> Comparison:
    """Return the index of an edit's images, which is empty if it has published none."""
    try:
        return read_comparison(app_state, job, order=order)
    except NotFound:
        return Comparison(pairs=[], omitted=0)


def read_file(app_state: AppState, file: Artifact) -> bytes:
    """Return the content of a file that is stored whole."""
    return b"".join(app_state.blobs.open(file.sha256, 0, file.size))


def choose_edit(request: Request, app_state: AppState, caller: Caller, title: str, lead: str) -> Response:
    """Show the latest edits that have published files, each with a link to this page of it."""
    with app_state.database.read() as session:
        filters = {"status": "succeeded"}
        rows: Sequence[Job] = jobs.list_edits(session, caller.tenant, filters, limit=LISTED_EDITS)
    edits = [serializers.edit(job) for job in rows]
    return render(request, "choose_edit.html", edits=edits, page_title=title, page_lead=lead)


def image_response(app_state: AppState, job: Job, name: str, request: Request) -> Response:
    """Return an image of a job, never from another host. Raises `NotFound`."""
    return direct_response(app_state, job, name, request)
