"""The ledger of a model: active removals as a timeline, what a revocation would do, revisions and their differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import RedirectResponse

from api_schemas.edits import Removal
from api_schemas.jobs import Edit
from service.api.auth import ReadsLedger, WritesEdits
from service.api.dependencies import AppStateDep
from service.api.routes.edits import EditId, load_edit
from service.api.routes.models import ModelId, get_model
from service.core import edits
from service.core.edits import PendingRevocation
from service.core.revocation_preview import preview_revocation
from service.store import ledgers
from service.store.ids import EDIT_ID
from service.store.orm import MAX_INTEGER, LedgerEntry
from service.web.rendering import render

router = APIRouter(prefix="/ledger")

LISTED_REVISIONS = 50
RevisionQuery = Annotated[int | None, Query(ge=1, le=MAX_INTEGER)]


@dataclass(frozen=True)
class TimelineEntry:
    """The active removals that one edit added."""

    edit: str
    since: int
    removals: Sequence[Removal]


@dataclass(frozen=True)
class RevisionChange:
    """What changed between two revisions."""

    older: int
    newer: int
    added: Sequence[Removal]
    revoked: Sequence[Removal]


@router.get("")
def list_models(request: Request, app_state: AppStateDep, caller: ReadsLedger) -> Response:
    """Show the models, each with the number of its active removals."""
    models = app_state.registry.all()
    with app_state.database.read() as session:
        heads = {model.id: ledgers.head(session, caller.tenant, model.id) for model in models}
    return render(request, "ledgers.html", heads=heads)


@router.get("/{model_id}")
def show(
    request: Request,
    model_id: ModelId,
    app_state: AppStateDep,
    caller: ReadsLedger,
    revoke: Annotated[str | None, Query(pattern=EDIT_ID)] = None,
    older: RevisionQuery = None,
    newer: RevisionQuery = None,
) -> Response:
    """Show a ledger; with `?revoke=`, what a revocation would do; with `?older=&newer=`, what changed between two revisions."""
    get_model(app_state, model_id)
    with app_state.database.read() as session:
        active = ledgers.active_entries(session, caller.tenant, model_id)
        revisions = ledgers.revisions(session, caller.tenant, model_id, before=None, limit=LISTED_REVISIONS)
        compared = [
            ledgers.active_entries(session, caller.tenant, model_id, number) if number else []
            for number in (older, newer)
        ]
    preview = preview_revocation(active, revoke) if revoke else None
    return render(
        request,
        "ledger.html",
        model_id=model_id,
        timeline=timeline(active),
        revisions=revisions,
        preview=preview if preview and (preview.returning or preview.staying) else None,
        change=change_between(older, newer, *compared) if older and newer else None,
        may_revoke="edits:write" in caller.scopes,
        host=str(request.base_url).rstrip("/"),
    )


@router.post("/{model_id}/{edit_id}/revoke")
def revoke_edit(
    request: Request, model_id: ModelId, edit_id: EditId, app_state: AppStateDep, caller: WritesEdits
) -> Response:
    """Queue the revocation of an edit, and show its job."""
    job = load_edit(app_state, caller, edit_id)
    submission = edits.submit(app_state, PendingRevocation(caller, None, job))
    return RedirectResponse(f"/jobs/{Edit.model_validate_json(submission.reply.body).id}", 303)


def timeline(active: Sequence[LedgerEntry]) -> list[TimelineEntry]:
    """Return the active removals by edit, newest first."""
    by_edit: dict[str, list[LedgerEntry]] = {}
    for entry in active:
        by_edit.setdefault(entry.job_id, []).append(entry)
    found = [TimelineEntry(edit, entries[0].since, _removals(entries)) for edit, entries in by_edit.items()]
    return sorted(found, key=lambda entry: entry.since, reverse=True)


def change_between(
    older: int, newer: int, before: Sequence[LedgerEntry], after: Sequence[LedgerEntry]
) -> RevisionChange:
    """Return the removals that only one of two revisions has."""
    old, new = ({(entry.job_id, entry.position) for entry in entries} for entries in (before, after))
    added = [entry for entry in after if (entry.job_id, entry.position) not in old]
    revoked = [entry for entry in before if (entry.job_id, entry.position) not in new]
    return RevisionChange(older, newer, _removals(added), _removals(revoked))


def _removals(entries: Sequence[LedgerEntry]) -> list[Removal]:
    return [Removal.model_validate(entry.removal) for entry in entries]
