"""The audit report of an edit as a page, and its files."""

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from api_schemas.report import AuditReport
from service.api.auth import ReadsArtifacts
from service.api.dependencies import AppStateDep
from service.api.routes.artifacts import FileName, artifact_response
from service.api.routes.edits import EditId, load_edit
from service.core import serializers
from service.core.app_state import AppState
from service.store.orm import Job
from service.web import charts, report_words
from service.web.edit_pages import REPORT_FILE, choose_edit, find_comparison, find_file, image_response, read_file
from service.web.rendering import render
from service.web.report_features import find_features

router = APIRouter(prefix="/report")

MAX_WORD_MAPS = 4
"""Word maps on a page; an edit of many concepts has one for each."""
MAX_EXAMPLES = 4
"""Pairs of images on the page: it stays small, and the others are compared on a page of their own."""
IMAGE_SUFFIXES = (".png", ".webp")


@router.get("")
def choose(request: Request, app_state: AppStateDep, caller: ReadsArtifacts) -> Response:
    """Show the edits that have a report."""
    return choose_edit(
        request, app_state, caller, "Reports", "What was removed, what was kept, and how it was measured."
    )


@router.get("/{edit_id}")
def show(request: Request, edit_id: EditId, app_state: AppStateDep, caller: ReadsArtifacts) -> Response:
    """Show the report: verdict, gates, charts, attacks, what was not tested, and the downloads."""
    job = load_edit(app_state, caller, edit_id)
    report = read_report(app_state, job)
    validation = report.validation if report else None
    return render(
        request,
        "report.html",
        edit=serializers.edit(job),
        report=report,
        words=report_words,
        gates=charts.gates_plot(report, validation.checks) if report and validation else None,
        recognition=charts.recognition_plot(report, validation.groups) if report and validation else None,
        traces=[charts.trace_map(report, trace) for trace in report.traces] if report else [],
        word_maps=list(filter(None, (charts.word_map(report, one) for one in report.traces))) if report else [],
        max_word_maps=MAX_WORD_MAPS,
        features=find_features(app_state, caller, report) if report else [],
        examples=[pair for pair in find_comparison(app_state, job).pairs if pair.group == "target"][:MAX_EXAMPLES],
        sheets=[file for file in job.artifacts if file.kind == "figure" and file.name.endswith(IMAGE_SUFFIXES)],
        host=str(request.base_url).rstrip("/"),
    )


@router.get("/{edit_id}/files/{name:path}")
def read_file_of_edit(
    request: Request, edit_id: EditId, name: FileName, app_state: AppStateDep, caller: ReadsArtifacts
) -> Response:
    """Return a file of the edit: images to show, other files to save, which a browser must not open as our own pages."""
    job = load_edit(app_state, caller, edit_id)
    if name.endswith(IMAGE_SUFFIXES):
        return image_response(app_state, job, name, request)
    response = artifact_response(app_state, job, name, request)
    response.headers["Content-Disposition"] = f'attachment; filename="{name.rpartition("/")[2]}"'
    return response


def read_report(app_state: AppState, job: Job) -> AuditReport | None:
    """Return the report of an edit, or None if it has none that this version can read."""
    file = find_file(job, REPORT_FILE)
    try:
        return AuditReport.model_validate_json(read_file(app_state, file)) if file else None
    except ValidationError:
        return None
