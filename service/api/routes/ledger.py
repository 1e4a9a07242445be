"""The ledger of a model: active removals, revisions and the files of each revision."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from sqlalchemy.orm import Session

from api_schemas.edits import EditOptions, Removal
from api_schemas.jobs import Edit, Page
from api_schemas.ledgers import LedgerRebase, LedgerRemoval, ModelLedger, Revision
from service.api.auth import ReadsArtifacts, ReadsLedger, WritesEdits
from service.api.dependencies import AppStateDep
from service.api.file_response import ANY_CONTENT, download_responses
from service.api.job_replies import IdempotencyKey, accepted_response, idempotency_scope
from service.api.paging import PageLimit
from service.api.routes.artifacts import FileName, artifact_response
from service.api.routes.models import ModelId, get_model
from service.api.strict_json import StrictJsonRoute
from service.core import edits, rebases, serializers
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.edits import PendingEdit
from service.errors import NotFound
from service.store import ledgers, orm
from service.store.orm import MAX_INTEGER, Job

router = APIRouter(prefix="/v1/models/{model_id}", tags=["ledger"], route_class=StrictJsonRoute)

RevisionNumber = Annotated[int, Path(ge=1, le=MAX_INTEGER, description="Revision number, from 1.")]


@router.get("/ledger", summary="List the active removals of a model")
def read_ledger(
    model_id: ModelId,
    app_state: AppStateDep,
    caller: ReadsLedger,
    revision: Annotated[
        int | None, Query(ge=1, le=MAX_INTEGER, description="The revision to list; by default the latest.")
    ] = None,
) -> ModelLedger:
    """Return the active removals and the edit of each; with `?revision=N`, those that were active in revision N."""
    get_model(app_state, model_id)
    with app_state.database.read() as session:
        at = _find_revision(session, caller, model_id, revision)
        active = ledgers.active_entries(session, caller.tenant, model_id, at.number) if at else []
    return ModelLedger(
        model=model_id,
        revision=at.number if at else 0,
        digest=at.digest if at else None,
        removals=[_ledger_removal(entry) for entry in active],
    )


@router.post(
    "/ledger/rebase",
    status_code=edits.ACCEPTED,
    response_model=Edit,
    summary="Carry a ledger over to another model",
)
def rebase(
    model_id: ModelId,
    body: LedgerRebase,
    app_state: AppStateDep,
    caller: WritesEdits,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Queue one edit of the other model that makes every removal that is active here, and joins the ledger there.

    Weights are solved from the other model's own, and validated with its images. This ledger stays as it is.
    """
    get_model(app_state, model_id)
    request = rebases.rebase_request(app_state, caller, model_id, body)
    scope = idempotency_scope(app_state, caller, f"POST /v1/models/{model_id}/ledger/rebase", idempotency_key)
    submission = edits.submit(app_state, PendingEdit(caller, scope, request))
    edit_id = Edit.model_validate_json(submission.reply.body).id
    return accepted_response(submission, f"/v1/edits/{edit_id}")


@router.get("/revisions", summary="List a ledger's revisions, newest first")
def list_revisions(
    model_id: ModelId,
    app_state: AppStateDep,
    caller: ReadsLedger,
    limit: PageLimit = 20,
    after: Annotated[int | None, Query(ge=1, le=MAX_INTEGER, description="`next_cursor` of the previous page.")] = None,
) -> Page[Revision]:
    """Return a page of revisions."""
    get_model(app_state, model_id)
    with app_state.database.read() as session:
        rows = ledgers.revisions(session, caller.tenant, model_id, before=after, limit=limit + 1)
        data = [serializers.revision(row, session.get_one(Job, row.job_id)) for row in rows]
    return serializers.page(data, limit, lambda revision: revision.number)


@router.get("/revisions/{number}", summary="Read a revision")
def read_revision(model_id: ModelId, number: RevisionNumber, app_state: AppStateDep, caller: ReadsLedger) -> Revision:
    """Return a revision. Revisions never change."""
    row, job = get_revision(app_state, caller, model_id, number)
    return serializers.revision(row, job)


@router.head("/revisions/{number}/artifacts/{name:path}", include_in_schema=False)
@router.get(
    "/revisions/{number}/artifacts/{name:path}",
    summary="Download a revision's file",
    response_class=Response,
    responses=download_responses(ANY_CONTENT, redirected=True),
)
def read_revision_file(
    model_id: ModelId,
    number: RevisionNumber,
    name: FileName,
    request: Request,
    app_state: AppStateDep,
    caller: ReadsArtifacts,
) -> Response:
    """Return a file of the edit that made the revision: weights, delta or report."""
    _, job = get_revision(app_state, caller, model_id, number)
    return artifact_response(app_state, job, name, request)


def get_revision(app_state: AppState, caller: Caller, model_id: str, number: int) -> tuple[orm.Revision, Job]:
    """Return a revision of the caller's ledger and the job that made it. Raises `NotFound`."""
    get_model(app_state, model_id)
    with app_state.database.read() as session:
        row = _find_revision(session, caller, model_id, number)
        assert row, "a numbered revision is found or raises NotFound"
        return row, session.get_one(Job, row.job_id)


def _find_revision(session: Session, caller: Caller, model_id: str, number: int | None) -> orm.Revision | None:
    """Return a revision, or the latest one, which is None if there is none yet. Raises `NotFound`."""
    if number is None:
        return ledgers.head(session, caller.tenant, model_id)
    row = ledgers.revision(session, caller.tenant, model_id, number)
    if row is None:
        raise NotFound(
            f"The ledger of {model_id} has no revision {number}.",
            remedy=f"GET /v1/models/{model_id}/revisions lists them.",
        )
    return row


def _ledger_removal(entry: orm.LedgerEntry) -> LedgerRemoval:
    return LedgerRemoval(
        edit=entry.job_id,
        position=entry.position,
        removal=Removal.model_validate(entry.removal),
        options=EditOptions.model_validate(entry.options),
        since=entry.since,
    )
