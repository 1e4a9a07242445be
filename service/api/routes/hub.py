"""Read-only Hugging Face Hub routes: `from_pretrained` and `snapshot_download` work with HF_ENDPOINT=<service>/hf."""

import re
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from service.api.auth import ReadsArtifacts
from service.api.dependencies import AppStateDep
from service.api.file_response import ANY_CONTENT, download_responses, file_response
from service.api.hub_repository import (
    MAIN,
    NAMESPACE,
    HubFile,
    Repository,
    list_base_files,
    repository_not_found,
    revision_not_found,
)
from service.api.routes.artifacts import FileName, artifact_reader, presigned_redirect
from service.core.app_state import AppState
from service.core.caller import Caller
from service.store import base_model_registration, jobs, ledgers, orm
from service.store.errors import UnknownModel
from service.store.ids import EDIT_ID

router = APIRouter(prefix="/hf", tags=["hub"])

MAX_SEARCHED_REVISIONS = 50
"""The latest revisions, among which a commit id is searched."""

Namespace = Annotated[str, Path(description=f"Always `{NAMESPACE}`.", examples=[NAMESPACE])]
Repo = Annotated[str, Path(description="The id of an edit, or of a model: the model with your ledger applied.")]
Revision = Annotated[str, Path(description="`main`, a commit id, or the number of a ledger revision.", examples=[MAIN])]


@router.get("/api/models/{namespace}/{repo}", summary="Describe a repository")
def describe(namespace: Namespace, repo: Repo, app_state: AppStateDep, caller: ReadsArtifacts) -> dict[str, Any]:
    """Return the commit and the files of `main`."""
    return _repository_info(open_repository(app_state, caller, namespace, repo, MAIN))


@router.get("/api/models/{namespace}/{repo}/revision/{revision}", summary="Describe a repository's revision")
def describe_revision(
    namespace: Namespace, repo: Repo, revision: Revision, app_state: AppStateDep, caller: ReadsArtifacts
) -> dict[str, Any]:
    """Return the commit and the files of a revision."""
    return _repository_info(open_repository(app_state, caller, namespace, repo, revision))


@router.get("/api/models/{namespace}/{repo}/tree/{revision}", summary="List a repository's files")
def tree(
    namespace: Namespace,
    repo: Repo,
    revision: Revision,
    app_state: AppStateDep,
    caller: ReadsArtifacts,
    recursive: Annotated[bool, Query(description="Has no effect: all files are always listed.")] = True,
) -> list[dict[str, Any]]:
    """Return all files with their sizes and digests."""
    repository = open_repository(app_state, caller, namespace, repo, revision)
    return [_tree_entry(file) for file in repository.files.values()]


@router.head("/{namespace}/{repo}/resolve/{revision}/{name:path}", include_in_schema=False)
@router.get(
    "/{namespace}/{repo}/resolve/{revision}/{name:path}",
    summary="Download a repository's file",
    response_class=Response,
    responses=download_responses(ANY_CONTENT, redirected=True),
)
def resolve(
    namespace: Namespace,
    repo: Repo,
    revision: Revision,
    name: FileName,
    request: Request,
    app_state: AppStateDep,
    caller: ReadsArtifacts,
) -> Response:
    """Return the bytes. Supports `Range`; the ETag is the SHA-256 digest."""
    repository = open_repository(app_state, caller, namespace, repo, revision)
    file = repository.file(name)
    response = presigned_redirect(app_state, file.blob, request) or file_response(file.content, file, request)
    response.headers["X-Repo-Commit"] = repository.commit
    return response


def open_repository(app_state: AppState, caller: Caller, namespace: str, repo: str, revision: str) -> Repository:
    """Return a revision that the caller may read. Raises `NotFound`."""
    name = f"{namespace}/{repo}"
    if namespace != NAMESPACE:
        raise repository_not_found(name)
    if re.fullmatch(EDIT_ID, repo):
        repository = _open_edit(app_state, caller, repo, name)
        return repository if revision == MAIN else repository.require_commit(revision)
    return _open_model(app_state, caller, repo, name, revision)


def _open_edit(app_state: AppState, caller: Caller, edit_id: str, name: str) -> Repository:
    with app_state.database.read() as session:
        job = jobs.get_edit(session, caller.tenant, edit_id)
    if job is None or job.status != "succeeded":
        raise repository_not_found(name)
    return Repository(name, _base_model_files(app_state, name, job.model) | _published_files(app_state, job))


def _open_model(app_state: AppState, caller: Caller, model_id: str, name: str, revision: str) -> Repository:
    """Open a revision by number, commit id or `main`. Clients resolve `main` once and then use its commit id."""
    base = _base_model_files(app_state, name, model_id)
    with app_state.database.read() as session:
        rows = ledgers.revisions(session, caller.tenant, model_id, before=None, limit=MAX_SEARCHED_REVISIONS)
        if number := re.fullmatch(r"[1-9][0-9]{0,8}", revision):
            rows = [row for row in [ledgers.revision(session, caller.tenant, model_id, int(number[0]))] if row]
        made = [session.get_one(orm.Job, row.job_id) for row in rows]
    states = (Repository(name, base | files) for files in [*(_published_files(app_state, job) for job in made), {}])
    if number or revision == MAIN:
        if number and not made:
            raise revision_not_found(name, revision)
        return next(states)
    for state in states:
        if state.commit == revision:
            return state
    raise revision_not_found(name, revision)


def _base_model_files(app_state: AppState, name: str, model_id: str) -> dict[str, HubFile]:
    try:
        folder = app_state.registry.get(model_id).folder
    except UnknownModel as error:
        raise repository_not_found(name) from error
    with app_state.database.read() as session:
        known = base_model_registration.registered_files(session, model_id)
    return {file.name: file for file in list_base_files(folder, app_state.digests, known)}


def _published_files(app_state: AppState, job: orm.Job) -> dict[str, HubFile]:
    """Return the files that a job published, without private ones. They are opened only when they are read."""

    def content(row: orm.Artifact, start: int, end: int) -> Iterator[bytes]:
        return artifact_reader(app_state, job, row)(start, end)

    return {
        row.name: HubFile(
            row.name,
            row.size,
            row.sha256,
            row.media_type,
            partial(content, row),
            blob=None if row.overlay else row.sha256,
        )
        for row in job.artifacts
        if row.kind != "private"
    }


def _repository_info(repository: Repository) -> dict[str, Any]:
    return {
        "id": repository.id,
        "modelId": repository.id,
        "sha": repository.commit,
        "private": True,
        "gated": False,
        "disabled": False,
        "tags": ["diffusers", "expunge"],
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "siblings": [{"rfilename": name} for name in repository.files],
    }


def _tree_entry(file: HubFile) -> dict[str, Any]:
    return {
        "type": "file",
        "path": file.name,
        "size": file.size,
        "oid": file.sha256[:40],
        "lfs": {"oid": file.sha256, "size": file.size, "pointerSize": 130},
    }
