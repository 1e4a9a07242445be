"""The commits of Hub repositories: one of an edit; the revisions of your ledger, and the base model, of a model."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain, dropwhile

from sqlalchemy.orm import Session

from service.api.artifact_files import artifact_reader
from service.api.hub_repository import (
    MAIN,
    NAMESPACE,
    HubFile,
    Repository,
    list_base_files,
    repository_not_found,
    revision_not_found,
)
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.cases.withholding import check_not_withheld
from service.store import admission, jobs, ledgers, orm, registered_files
from service.store.errors import ModelNotAdmitted, UnknownModel
from service.store.ids import EDIT_ID

MAX_LISTED_REVISIONS = 50
"""Ledger revisions in a repository's history, and among which a commit id is searched."""
REVISION_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Commit:
    """A state of a repository."""

    repository: Repository
    title: str
    date: datetime
    number: int | None = None
    """The ledger revision."""

    @property
    def id(self) -> str:
        """40 hexadecimal digits over all files."""
        return self.repository.commit

    @property
    def date_text(self) -> str:
        """The date in the only format that Hub clients read."""
        return self.date.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def open_commit(app_state: AppState, caller: Caller, namespace: str, repo: str, revision: str) -> Commit:
    """Return a commit that the caller may read. Raises `NotFound`."""
    return next(list_commits(app_state, caller, namespace, repo, revision))


def list_commits(app_state: AppState, caller: Caller, namespace: str, repo: str, revision: str) -> Iterator[Commit]:
    """Return the history from a revision, newest first: `main`, a revision's number or a commit id. Raises `NotFound`.

    Clients resolve `main` once and then use its commit id.
    """
    name = f"{namespace}/{repo}"
    if namespace != NAMESPACE:
        raise repository_not_found(name)
    number = int(revision) if REVISION_NUMBER.fullmatch(revision) else None
    if re.fullmatch(EDIT_ID, repo):
        commits = iter([_edit_commit(app_state, caller, repo, name)])
    else:
        commits = _model_commits(app_state, caller, repo, name, number)
    found = dropwhile(lambda commit: revision not in (MAIN, str(commit.number), commit.id), commits)
    if (first := next(found, None)) is None:
        raise revision_not_found(name, revision)
    return chain([first], found)


def _edit_commit(app_state: AppState, caller: Caller, edit_id: str, name: str) -> Commit:
    with app_state.database.read() as session:
        job = jobs.get_edit(session, caller.tenant, edit_id)
        if job is None or job.status != "succeeded" or not _is_served(session, job):
            raise repository_not_found(name)
    check_not_withheld(app_state, caller.tenant, job.model)
    base = _base_model_files(app_state, caller, name, job.model)
    return Commit(
        Repository(name, base | _published_files(app_state, job)), f"Edit {job.id}", job.finished_at or job.created_at
    )


def _is_served(session: Session, job: orm.Job) -> bool:
    """Return whether an edit has every removal without which its model may not be served."""
    revision = ledgers.revision_of_job(session, job.id)
    number = revision.number if revision else 0
    return number >= admission.first_served_revision(session, job.tenant, job.model)


def _model_commits(
    app_state: AppState, caller: Caller, model_id: str, name: str, number: int | None
) -> Iterator[Commit]:
    """Yield the ledger's revisions that are served, from `number` if it is given, and the base model if it is."""
    check_not_withheld(app_state, caller.tenant, model_id)
    base = _base_model_files(app_state, caller, name, model_id)
    before = None if number is None else number + 1
    with app_state.database.read() as session:
        rows = ledgers.revisions(session, caller.tenant, model_id, before=before, limit=MAX_LISTED_REVISIONS)
        first = admission.first_served_revision(session, caller.tenant, model_id)
        made = [(row, session.get_one(orm.Job, row.job_id)) for row in rows if row.number >= first]
    for row, job in made:
        files = base | _published_files(app_state, job)
        yield Commit(Repository(name, files), f"Revision {row.number}: {job.id}", row.created_at, row.number)
    if first:
        return
    index = app_state.registry.get(model_id).base_file("model_index.json")
    yield Commit(Repository(name, base), "Base model", datetime.fromtimestamp(index.stat().st_mtime, UTC))


def _base_model_files(app_state: AppState, caller: Caller, name: str, model_id: str) -> dict[str, HubFile]:
    """Return the files of a model that is admitted for the caller. Raises `NotFound`."""
    try:
        paths = app_state.registry.get_admitted(model_id).paths()
    except (UnknownModel, ModelNotAdmitted) as error:
        raise repository_not_found(name) from error
    with app_state.database.read() as session:
        if admission.exclusions(session, caller.tenant, [model_id]):
            raise repository_not_found(name)
        known = registered_files.load_files(session, model_id)
    return {file.name: file for file in list_base_files(paths, app_state.digests, known)}


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
