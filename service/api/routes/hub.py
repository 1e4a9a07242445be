"""A read-only Hugging Face Hub: `from_pretrained` and `snapshot_download` work here with HF_ENDPOINT=<us>/hf alone."""

import re
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from service.api.auth import ReadsArtifacts
from service.api.file_response import ANY_FILE, download, replies
from service.api.hub_repository import MAIN, NAMESPACE, HubFile, Repository, base_files, no_repository, no_revision
from service.api.routes.artifacts import FileName, content_of
from service.core.app_state import Backend, BackendDep
from service.core.caller import Caller
from service.store import base_model_registration, jobs, ledgers, orm
from service.store.errors import UnknownModel
from service.store.ids import EDIT_ID

router = APIRouter(prefix="/hf", tags=["hub"])

SEARCHED = 50
"""Revisions among which a commit is looked for."""

Namespace = Annotated[str, Path(description=f"Always `{NAMESPACE}`.", examples=[NAMESPACE])]
Repo = Annotated[str, Path(description="The id of an edit, or of a model: then what your ledger makes of it.")]
Revision = Annotated[str, Path(description="`main`, a commit, or the number of a ledger's revision.", examples=[MAIN])]


@router.get("/api/models/{namespace}/{repo}", summary="Describe a repository")
def describe(namespace: Namespace, repo: Repo, backend: BackendDep, caller: ReadsArtifacts) -> dict[str, Any]:
    """As `main` is."""
    return _described(open_repository(backend, caller, namespace, repo, MAIN))


@router.get("/api/models/{namespace}/{repo}/revision/{revision}", summary="Describe a repository's revision")
def describe_revision(
    namespace: Namespace, repo: Repo, revision: Revision, backend: BackendDep, caller: ReadsArtifacts
) -> dict[str, Any]:
    """Its commit and its files."""
    return _described(open_repository(backend, caller, namespace, repo, revision))


@router.get("/api/models/{namespace}/{repo}/tree/{revision}", summary="List a repository's files")
def tree(
    namespace: Namespace,
    repo: Repo,
    revision: Revision,
    backend: BackendDep,
    caller: ReadsArtifacts,
    recursive: Annotated[bool, Query(description="All files are listed either way.")] = True,
) -> list[dict[str, Any]]:
    """Each with its size and digest."""
    found = open_repository(backend, caller, namespace, repo, revision)
    return [_entry(file) for file in found.files.values()]


@router.head("/{namespace}/{repo}/resolve/{revision}/{name:path}", include_in_schema=False)
@router.get(
    "/{namespace}/{repo}/resolve/{revision}/{name:path}",
    summary="Download a repository's file",
    response_class=Response,
    responses=replies(ANY_FILE),
)
def resolve(
    namespace: Namespace,
    repo: Repo,
    revision: Revision,
    name: FileName,
    request: Request,
    backend: BackendDep,
    caller: ReadsArtifacts,
) -> Response:
    """The bytes. `Range` is understood; the ETag is the sha256."""
    found = open_repository(backend, caller, namespace, repo, revision)
    file = found.file(name)
    response = download(file.content, file, request)
    response.headers["X-Repo-Commit"] = found.commit
    return response


def open_repository(backend: Backend, caller: Caller, namespace: str, repo: str, revision: str) -> Repository:
    """The files of a revision that the caller may see. Raises `NotFound`."""
    name = f"{namespace}/{repo}"
    if namespace != NAMESPACE:
        raise no_repository(name)
    if re.fullmatch(EDIT_ID, repo):
        found = _of_edit(backend, caller, repo, name)
        return found if revision == MAIN else found.at(revision)
    return _of_model(backend, caller, repo, name, revision)


def _of_edit(backend: Backend, caller: Caller, edit_id: str, name: str) -> Repository:
    with backend.database.read() as session:
        job = jobs.edit_of(session, caller.tenant, edit_id)
    if job is None or job.status != "succeeded":
        raise no_repository(name)
    return Repository(name, _base(backend, name, job.model) | _published(backend, job))


def _of_model(backend: Backend, caller: Caller, model_id: str, name: str, revision: str) -> Repository:
    """By number, or by commit: a client asks for `main` once, and then for the commit that this was."""
    base = _base(backend, name, model_id)
    with backend.database.read() as session:
        rows = ledgers.revisions(session, caller.tenant, model_id, before=None, limit=SEARCHED)
        if number := re.fullmatch(r"[1-9][0-9]{0,8}", revision):
            rows = [row for row in [ledgers.revision(session, caller.tenant, model_id, int(number[0]))] if row]
        made = [session.get_one(orm.Job, row.job_id) for row in rows]
    states = (Repository(name, base | files) for files in [*(_published(backend, job) for job in made), {}])
    if number or revision == MAIN:
        if number and not made:
            raise no_revision(name, revision)
        return next(states)
    for state in states:
        if state.commit == revision:
            return state
    raise no_revision(name, revision)


def _base(backend: Backend, name: str, model_id: str) -> dict[str, HubFile]:
    try:
        folder = backend.registry.get(model_id).folder
    except UnknownModel as error:
        raise no_repository(name) from error
    with backend.database.read() as session:
        known = base_model_registration.digests(session, model_id)
    return {file.name: file for file in base_files(folder, backend.digests, known)}


def _published(backend: Backend, job: orm.Job) -> dict[str, HubFile]:
    """What a job published, but for what only whoever asked may see; opened only when it is read."""

    def content(row: orm.Artifact, start: int, end: int) -> Iterator[bytes]:
        return content_of(backend, job, row)(start, end)

    return {
        row.name: HubFile(row.name, row.size, row.sha256, row.media_type, partial(content, row))
        for row in job.artifacts
        if row.kind != "private"
    }


def _described(found: Repository) -> dict[str, Any]:
    return {
        "id": found.id,
        "modelId": found.id,
        "sha": found.commit,
        "private": True,
        "gated": False,
        "disabled": False,
        "tags": ["diffusers", "expunge"],
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "siblings": [{"rfilename": name} for name in found.files],
    }


def _entry(file: HubFile) -> dict[str, Any]:
    return {
        "type": "file",
        "path": file.name,
        "size": file.size,
        "oid": file.sha256[:40],
        "lfs": {"oid": file.sha256, "size": file.size, "pointerSize": 130},
    }
