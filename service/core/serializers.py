"""Convert database rows to API resources."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

from sqlalchemy.orm import Session

from api_schemas.batches import Batch, BatchCounts, BatchItem, ItemStatus
from api_schemas.calibrations import Calibration, CalibrationTask, CalibrationUrls
from api_schemas.edits import EditRequest
from api_schemas.events import Event
from api_schemas.jobs import (
    Artifact,
    Edit,
    EditableEncoder,
    EditUrls,
    JobError,
    Page,
)
from api_schemas.ledgers import Revision
from api_schemas.previews import (
    PREVIEW_SIDES,
    Preview,
    PreviewImages,
    PreviewRequest,
    PreviewSide,
    PreviewTask,
    PreviewUrls,
    preview_image_name,
)
from api_schemas.problems import InvalidField
from api_schemas.samples import Sample, sample_path
from api_schemas.webhooks import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from service.store import batches, ledgers, orm

Item = TypeVar("Item")
MAX_CACHED_REQUESTS = 1000
"""Parsed requests that are cached by digest."""
_request_cache: dict[str, EditRequest] = {}


def edit(job: orm.Job) -> Edit:
    """Return a job as its owner sees it."""
    request = _parse_request(job)
    files = job.artifacts if job.status == "succeeded" else []
    return Edit(
        id=job.id,
        kind=job.kind,
        status=job.status,
        phase=job.phase,
        progress=job.progress,
        verdict=job.verdict,
        request=request,
        request_digest=job.request_digest,
        priority=request.priority,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        created_at=job.created_at,
        queued_at=job.queued_at,
        started_at=job.started_at,
        canceling_at=job.canceling_at,
        finished_at=job.finished_at,
        expires_at=job.expires_at,
        revokes=job.revokes,
        error=JobError.model_validate(job.error) if job.error else None,
        metrics=durations(queue=(job.queued_at, job.started_at), run=(job.started_at, job.finished_at)),
        artifacts=[artifact(row) for row in files],
        metadata=request.metadata,
        urls=_urls(job.id),
    )


def _parse_request(job: orm.Job) -> EditRequest:
    """Return the job's request. It never changes, so it is cached for clients that poll."""
    request = _request_cache.get(job.request_digest)
    if request is None:
        request = EditRequest.model_validate(job.request)
        if len(_request_cache) >= MAX_CACHED_REQUESTS:
            _request_cache.clear()
        _request_cache[job.request_digest] = request
    return request


def durations(**spans: tuple[datetime | None, datetime | None]) -> dict[str, float]:
    """Return the seconds of each span that has begun and ended."""
    return {f"{name}_seconds": (end - start).total_seconds() for name, (start, end) in spans.items() if start and end}


def calibration(job: orm.Job) -> Calibration:
    """Return a calibration job as its owner sees it."""
    base = f"/v1/calibrations/{job.id}"
    return Calibration(
        id=job.id,
        model=job.model,
        status=job.status,
        phase=job.phase,
        progress=job.progress,
        request=CalibrationTask.model_validate(job.request),
        request_digest=job.request_digest,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        expires_at=job.expires_at,
        error=JobError.model_validate(job.error) if job.error else None,
        metrics=durations(queue=(job.queued_at, job.started_at), run=(job.started_at, job.finished_at)),
        urls=CalibrationUrls(
            self=base,
            model=f"/v1/models/{job.model}",
            **{part: f"{base}/{part}" for part in ("cancel", "events", "stream", "artifacts")},
        ),
    )


def preview(job: orm.Job, kept: timedelta | None = None) -> Preview:
    """Return a preview as its owner sees it.

    Args:
        kept: how long an ended preview is stored; None if the job has not ended.
    """
    task = PreviewTask.model_validate(job.request)
    base = preview_url(job.id, task)
    images = [
        PreviewImages(seed=seed, **{side: f"{base}/images/{preview_image_name(seed, side)}" for side in PREVIEW_SIDES})
        for seed in task.seeds
    ]
    return Preview(
        id=job.id,
        edit=task.edit,
        steering=task.steering,
        model=job.model,
        status=job.status,
        progress=job.progress,
        request=PreviewRequest.model_validate(task.model_dump(include=set(PreviewRequest.model_fields))),
        images=images if job.status == "succeeded" else [],
        error=JobError.model_validate(job.error) if job.error else None,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        deleted_at=job.finished_at + kept if job.finished_at and kept else None,
        metrics=durations(queue=(job.queued_at, job.started_at), run=(job.started_at, job.finished_at)),
        urls=PreviewUrls(self=base, edit=f"/v1/edits/{task.edit}" if task.edit else None, cancel=f"{base}/cancel"),
    )


def preview_url(preview_id: str, task: PreviewTask) -> str:
    """Return the path of a preview."""
    steering = task.steering
    parent = f"models/{task.model}/autoencoders/{steering.kind}" if steering else f"edits/{task.edit}"
    return f"/v1/{parent}/previews/{preview_id}"


def job_url(job_id: str) -> str:
    """Return the path of an edit or a calibration."""
    return f"/v1/{'calibrations' if job_id.startswith('cal_') else 'edits'}/{job_id}"


def artifact(row: orm.Artifact) -> Artifact:
    """Return a published file."""
    return Artifact(
        name=row.name,
        kind=row.kind,
        media_type=row.media_type,
        size=row.size,
        sha256=row.sha256,
        url=f"{job_url(row.job_id)}/artifacts/{row.name}",
    )


def event(row: orm.Event) -> Event:
    """Return an event of a job."""
    return Event.model_validate(row, from_attributes=True)


def sample(row: orm.Sample) -> Sample:
    """Return sample images of a running job."""

    def path(side: PreviewSide) -> str:
        return f"/v1/edits{sample_path(row.job_id, row.number, side)}"

    after = path("after") if row.after else None
    return Sample(number=row.number, prompt=row.prompt, seed=row.seed, before=path("before"), after=after)


def encoder(component: str, config: Mapping[str, Any]) -> EditableEncoder:
    """Return a text encoder. Values that its configuration lacks default to those of `CLIPTextConfig`."""
    return EditableEncoder(
        component=component,
        kind=config.get("architectures", ["CLIPTextModel"])[0],
        layers=config.get("num_hidden_layers", 12),
        width=config.get("hidden_size", 512),
    )


def revision(row: orm.Revision, job: orm.Job) -> Revision:
    """Return a ledger revision with the files of the job that made it."""
    return Revision(
        model=row.model,
        number=row.number,
        digest=row.digest,
        active=row.active,
        edit=row.job_id,
        created_at=row.created_at,
        artifacts=[artifact(file) for file in job.artifacts],
        url=f"/v1/models/{row.model}/revisions/{row.number}",
    )


def batch(session: Session, row: orm.Batch) -> Batch:
    """Return a batch with the edit that makes its removals."""
    job = session.get_one(orm.Job, row.job_id)
    counts, made = batches.count_items(session, row.id), ledgers.revision_of_job(session, job.id)
    url = f"/v1/batches/{row.id}"
    return Batch(
        id=row.id,
        model=job.model,
        status=job.status,
        counts=BatchCounts(total=counts.total, accepted=counts.accepted, refused=counts.total - counts.accepted),
        revision=made.number if made else None,
        created_at=row.created_at,
        edit=edit(job),
        url=url,
        items_url=f"{url}/items",
    )


def item_statuses(session: Session, job: orm.Job) -> Mapping[int, ItemStatus]:
    """Return the status of each removal of a job by its index in the request."""
    if job.status == "succeeded":
        entries = ledgers.entries_of_job(session, job.id)
        return {entry.position: "removed" if entry.until is None else "revoked" for entry in entries}
    return defaultdict(lambda: cast(ItemStatus, job.status))


def batch_item(row: orm.BatchItem, statuses: Mapping[int, ItemStatus]) -> BatchItem:
    """Return one removal of a batch."""
    return BatchItem(
        position=row.position,
        concept=row.concept,
        status="refused" if row.place is None else statuses[row.place],
        place=row.place,
        errors=[InvalidField.model_validate(error) for error in row.errors],
    )


def webhook_endpoint(row: orm.WebhookEndpoint) -> WebhookEndpoint:
    """Return a webhook endpoint without its secret."""
    return WebhookEndpoint(
        id=row.id,
        url=row.url,
        events=row.events,
        description=row.description,
        created_at=row.created_at,
        disabled_at=row.disabled_at,
        public_key=row.public_key,
    )


def webhook_delivery(row: orm.WebhookDelivery) -> WebhookDelivery:
    """Return a webhook message and the attempts to deliver it."""
    return WebhookDelivery(
        id=row.id,
        endpoint=row.endpoint_id,
        type=row.type,
        edit=row.job_id,
        case=row.case_id,
        model=row.model,
        status=row.status,
        created_at=row.created_at,
        next_attempt_at=row.next_attempt_at,
        attempts=[WebhookAttempt.model_validate(attempt) for attempt in row.attempts],
    )


def page(items: Sequence[Item], limit: int, cursor: Callable[[Item], object]) -> Page[Item]:
    """Return a page of at most `limit` items. Callers load `limit + 1` items, so that `has_more` is known."""
    has_more = len(items) > limit
    data = list(items[:limit])
    return Page(data=data, has_more=has_more, next_cursor=str(cursor(data[-1])) if has_more else None)


def assume_utc(time: datetime | None) -> datetime | None:
    """Return the time with a zone; a time without one is UTC."""
    return time.replace(tzinfo=UTC) if time and time.tzinfo is None else time


def _urls(edit_id: str) -> EditUrls:
    base = f"/v1/edits/{edit_id}"
    parts = ("cancel", "events", "stream", "artifacts", "report")
    return EditUrls(self=base, **{part: f"{base}/{part}" for part in parts})
