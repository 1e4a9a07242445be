"""What holds for a model by now, the revisions that led there, and the weights of each."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from sqlalchemy.orm import Session

from api_schemas.edits import EditOptions, Removal
from api_schemas.jobs import Page
from api_schemas.ledgers import LedgerRemoval, ModelLedger, Revision
from service.api.auth import ReadsArtifacts, ReadsLedger
from service.api.file_response import ANY_FILE, replies
from service.api.routes.artifacts import FileName, download_of
from service.api.routes.models import ModelId, registered
from service.core import serializers
from service.core.app_state import Backend, BackendDep
from service.core.caller import Caller
from service.errors import NotFound
from service.store import ledgers, orm
from service.store.orm import HIGHEST, Job

router = APIRouter(prefix="/v1/models/{model_id}", tags=["ledger"])

Number = Annotated[int, Path(ge=1, le=HIGHEST, description="1, 2, 3 …")]


@router.get("/ledger", summary="What is removed from a model")
def read_ledger(
    model_id: ModelId,
    backend: BackendDep,
    caller: ReadsLedger,
    revision: Annotated[int | None, Query(ge=1, le=HIGHEST, description="As it was then; left out: as it is.")] = None,
) -> ModelLedger:
    """Every removal that holds, and the edit that asked for it."""
    registered(backend, model_id)
    with backend.database.read() as session:
        at = _revision(session, caller, model_id, revision)
        held = ledgers.active(session, caller.tenant, model_id, at.number) if at else []
    return ModelLedger(
        model=model_id,
        revision=at.number if at else 0,
        digest=at.digest if at else None,
        removals=[_removal(entry) for entry in held],
    )


@router.get("/revisions", summary="List a ledger's revisions, newest first")
def list_revisions(
    model_id: ModelId,
    backend: BackendDep,
    caller: ReadsLedger,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[int | None, Query(ge=1, le=HIGHEST, description="`next_cursor` of the last page.")] = None,
) -> Page[Revision]:
    """One page."""
    registered(backend, model_id)
    with backend.database.read() as session:
        rows = ledgers.revisions(session, caller.tenant, model_id, before=after, limit=limit + 1)
        found = [serializers.revision(row, session.get_one(Job, row.job_id)) for row in rows]
    return serializers.page(found, limit, lambda revision: revision.number)


@router.get("/revisions/{number}", summary="Read a revision")
def read_revision(model_id: ModelId, number: Number, backend: BackendDep, caller: ReadsLedger) -> Revision:
    """It never changes."""
    row, job = revision_of(backend, caller, model_id, number)
    return serializers.revision(row, job)


@router.head("/revisions/{number}/artifacts/{name:path}", include_in_schema=False)
@router.get(
    "/revisions/{number}/artifacts/{name:path}",
    summary="Download a revision's file",
    response_class=Response,
    responses=replies(ANY_FILE),
)
def read_revision_file(
    model_id: ModelId, number: Number, name: FileName, request: Request, backend: BackendDep, caller: ReadsArtifacts
) -> Response:
    """Weights, delta, report: the files of the edit that made the revision."""
    _, job = revision_of(backend, caller, model_id, number)
    return download_of(backend, job, name, request)


def revision_of(backend: Backend, caller: Caller, model_id: str, number: int) -> tuple[orm.Revision, Job]:
    """A revision of the caller's own ledger, and the job that made it. Raises `NotFound`."""
    registered(backend, model_id)
    with backend.database.read() as session:
        row = _revision(session, caller, model_id, number)
        assert row, "asked for by number"
        return row, session.get_one(Job, row.job_id)


def _revision(session: Session, caller: Caller, model_id: str, number: int | None) -> orm.Revision | None:
    """A certain revision, or the last one; None: there is none yet. Raises `NotFound`."""
    if number is None:
        return ledgers.head(session, caller.tenant, model_id)
    row = ledgers.revision(session, caller.tenant, model_id, number)
    if row is None:
        raise NotFound(f"the ledger of {model_id} has no revision {number}.", remedy="GET …/revisions lists them.")
    return row


def _removal(entry: orm.LedgerEntry) -> LedgerRemoval:
    return LedgerRemoval(
        edit=entry.job_id,
        position=entry.position,
        removal=Removal.model_validate(entry.removal),
        options=EditOptions.model_validate(entry.options),
        since=entry.since,
    )
