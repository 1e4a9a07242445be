"""Images before and after an edit: prompts by seeds, with the judge's scores."""

from itertools import groupby
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api_schemas.comparisons import ImageComparison
from api_schemas.judging import GroupName
from service.api.auth import ReadsArtifacts
from service.api.dependencies import AppStateDep
from service.api.routes.comparisons import ComparedName, compared_image
from service.api.routes.edits import EditId, load_edit
from service.core import serializers
from service.core.comparisons import Order
from service.web import report_words
from service.web.edit_pages import choose_edit, find_comparison
from service.web.rendering import render

router = APIRouter(prefix="/compare")

PAGE_PROMPTS = 12
"""Prompts on a page."""


@router.get("")
def choose(request: Request, app_state: AppStateDep, caller: ReadsArtifacts) -> Response:
    """Show the edits whose images can be compared."""
    return choose_edit(
        request, app_state, caller, "Compare", "Images of the same prompts and seeds before and after an edit."
    )


@router.get("/{edit_id}")
def show(
    request: Request,
    edit_id: EditId,
    app_state: AppStateDep,
    caller: ReadsArtifacts,
    group: Annotated[GroupName | None, Query()] = None,
    order: Annotated[Order, Query()] = "group",
    page: Annotated[int, Query(ge=1, le=1000)] = 1,
) -> Response:
    """Show pairs of images by prompt, side by side; a script adds slider, fade and difference."""
    job = load_edit(app_state, caller, edit_id)
    whole = find_comparison(app_state, job, order)
    found = [pair for pair in whole.pairs if group in (None, pair.group)]
    rows = [(prompt, list(pairs)) for prompt, pairs in groupby(found, key=_row)]
    edit = serializers.edit(job)
    return render(
        request,
        "compare.html",
        edit=edit,
        rows=rows[(page - 1) * PAGE_PROMPTS : page * PAGE_PROMPTS],
        groups={one: report_words.GROUPS[one] for one in dict.fromkeys(pair.group for pair in whole.pairs)},
        group=group,
        order=order,
        page=page,
        pages=-(-len(rows) // PAGE_PROMPTS),
        count=len(found),
        omitted=whole.omitted,
        concepts=[removal.concept for removal in edit.request.removals],
        words=report_words,
    )


@router.get("/{edit_id}/images/{name}")
def read_image(
    request: Request, edit_id: EditId, name: ComparedName, app_state: AppStateDep, caller: ReadsArtifacts
) -> Response:
    """Return an image."""
    return compared_image(app_state, load_edit(app_state, caller, edit_id), name, request)


def _row(pair: ImageComparison) -> tuple[str, int | None, str]:
    return pair.group, pair.removal, pair.prompt
