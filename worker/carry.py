"""Edits of a fleet whose delta is carried over from another model: finds and fetches the published files of that edit."""

import importlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from sqlalchemy.orm import Session

from service.store import fleet_groups, fleets, ledgers
from service.store.blobs import ArtifactStore
from service.store.claims import Claim
from service.store.database import Database
from service.store.orm import Artifact, Job
from worker.download import fetch_blob

if TYPE_CHECKING:
    from editor import jobs
    from editor.jobs import carry

FETCHED = ("delta", "lora")
"""Kinds of files that are carried over as they are."""
REPORT_FILE, OVERLAYS_FILE = "report.json", "overlays.json"


class CarryModule(Protocol):
    """Interface of `editor.jobs.carry`."""

    def carry(self, context: "jobs.JobContext", source: Path) -> object:
        """Publish the delta of another edit for the context's model. Raises `EditorError`."""


def load(module: str) -> CarryModule:
    """Import a carry module. It is imported late, because it imports torch."""
    return cast(CarryModule, importlib.import_module(module))


if TYPE_CHECKING:
    _CHECKED_MODULE: CarryModule = carry


@dataclass(frozen=True)
class CarrySource:
    """The published files of the edit that is carried over."""

    edit_id: str
    artifacts: Sequence[Artifact]

    def fetch(self, blobs: ArtifactStore, cache: Path) -> Path:
        """Return a folder with the files, which all targets of the group share."""
        folder = cache / "carried" / self.edit_id
        if not (folder / OVERLAYS_FILE).is_file():
            folder.mkdir(parents=True, exist_ok=True)
            for file in self.artifacts:
                if file.overlay is None and (file.kind in FETCHED or file.name == REPORT_FILE):
                    fetched = fetch_blob(blobs, file.sha256, file.size, folder / f".{file.name}.{os.getpid()}")
                    fetched.replace(folder / file.name)  # another process may read the file already
            overlays = {file.name: file.overlay for file in self.artifacts if file.overlay}
            partial = folder / f".{OVERLAYS_FILE}"
            partial.write_text(json.dumps(overlays))
            partial.replace(folder / OVERLAYS_FILE)
        return folder


def find_source(database: Database, claim: Claim) -> CarrySource | None:
    """Return the edit that is carried over; None if the job is solved by itself.

    It is solved too if the ledger of the model has changed since the fleet was created, so that the weights would differ.
    """
    with database.read() as session:
        edit_id = fleets.carried_from(session, claim.job_id)
        job = session.get(Job, edit_id) if edit_id else None
        if job is None or job.status != "succeeded" or not _have_same_removals(session, job, claim):
            return None
        return CarrySource(job.id, list(job.artifacts))


def _have_same_removals(session: Session, other: Job, claim: Claim) -> bool:
    """Return whether both ledgers had the same active removals before the edits."""
    made = ledgers.revision_of_job(session, other.id)
    if made is None:
        return False
    before = ledgers.active_entries(session, claim.tenant, other.model, made.number - 1)
    own = ledgers.active_entries(session, claim.tenant, claim.request.model)
    return sorted(map(fleet_groups.canonical_removal, before)) == sorted(map(fleet_groups.canonical_removal, own))
