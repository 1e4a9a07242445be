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
        needed = referenced_digests(session)
        findings = [*_check_event_numbers(session), *_check_manifests(session)]
        jobs = session.scalar(select(func.count()).select_from(Job)) or 0
    stored = [found for found in blobs.each() if found.sha256]
    lying = {found.sha256 for found in stored}
    findings += [FsckFinding("missing", sha256, "a published file refers to it") for sha256 in sorted(needed - lying)]
    for found in stored:
        if _hash_blob(blobs, found) != found.sha256:
            findings.append(FsckFinding("corrupted", found.sha256, f"its {found.size} bytes have a different digest"))
        progress(found.size)
    return FsckReport(len(stored), sum(found.size for found in stored), jobs, len(lying - needed), findings)


def _hash_blob(blobs: ArtifactStore, stored: BlobEntry) -> str:
    digest = hashlib.sha256()
    for chunk in blobs.open(stored.sha256, 0, stored.size):
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
    with_it = select(Artifact.job_id).join(Job).where(Artifact.sha256 == Job.manifest_sha256)
    for job_id, sha256, files in session.execute(listed.where(Job.id.not_in(with_it))):
        yield FsckFinding("manifest", job_id, f"{sha256} is not among its {files} files")
