"""Consistency check: hashes every stored blob and follows every reference."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.store.blobs import ArtifactStore, BlobEntry
from service.store.database import Database
from service.store.gc import referenced_digests
from service.store.orm import Artifact, Event, Job


@dataclass(frozen=True)
class FsckFinding:
    """An inconsistency. `code` is ``corrupted``, ``missing``, ``manifest`` or ``history``."""

    code: str
    subject: str
    detail: str


@dataclass(frozen=True)
class FsckReport:
    """What was checked and which inconsistencies were found."""

    blobs: int
    size: int
    jobs: int
    unreferenced: int
    findings: list[FsckFinding]


def inspect(
    database: Database, blobs: ArtifactStore, progress: Callable[[int], object] = lambda size: None
) -> FsckReport:
    """Check every blob and every job. Safe while the service is running.

    Args:
        progress: called with the number of bytes that were hashed, once per blob.
    """
    with (
        database.read() as session
    ):  # References are read before blobs are listed, so every referenced blob is in the listing.
        referenced = referenced_digests(session)
        findings = [*_check_event_numbers(session), *_check_manifests(session)]
        jobs = session.scalar(select(func.count()).select_from(Job)) or 0
    entries = [entry for entry in blobs.each() if entry.sha256]
    present = {entry.sha256 for entry in entries}
    findings += [
        FsckFinding("missing", sha256, "a published file refers to it") for sha256 in sorted(referenced - present)
    ]
    for entry in entries:
        if _hash_blob(blobs, entry) != entry.sha256:
            findings.append(FsckFinding("corrupted", entry.sha256, f"its {entry.size} bytes have a different digest"))
        progress(entry.size)
    return FsckReport(len(entries), sum(entry.size for entry in entries), jobs, len(present - referenced), findings)


def _hash_blob(blobs: ArtifactStore, entry: BlobEntry) -> str:
    digest = hashlib.sha256()
    for chunk in blobs.open(entry.sha256, 0, entry.size):
        digest.update(chunk)
    return digest.hexdigest()


def _check_event_numbers(session: Session) -> Iterator[FsckFinding]:
    """Check that events are numbered 1, 2, 3 … without gaps."""
    numbers = select(Event.job_id, func.count(Event.seq), func.min(Event.seq), func.max(Event.seq))
    for job_id, count, first, last in session.execute(numbers.group_by(Event.job_id)):
        if (first, last) != (1, count):
            yield FsckFinding("history", job_id, f"{count} events, numbered {first} to {last}")


def _check_manifests(session: Session) -> Iterator[FsckFinding]:
    """Check that a job with files lists its manifest among them."""
    listed = select(Job.id, Job.manifest_sha256, func.count(Artifact.name)).join(Artifact).group_by(Job.id)
    with_manifest = select(Artifact.job_id).join(Job).where(Artifact.sha256 == Job.manifest_sha256)
    for job_id, sha256, files in session.execute(listed.where(Job.id.not_in(with_manifest))):
        yield FsckFinding("manifest", job_id, f"{sha256} is not among its {files} files")
