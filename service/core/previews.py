"""Accept requests to preview an edit."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from api_schemas.edits import EditRequest
from api_schemas.previews import PreviewRequest, PreviewTask
from service.core import serializers
from service.core.edits import Acceptance, PendingJob
from service.core.quotas import JobQuota
from service.errors import NotPreviewable
from service.store.audit import AuditEntry
from service.store.jobs import NewJob
from service.store.orm import Job

MAX_QUEUE_TIME = timedelta(hours=1)
"""A preview that no worker has started within this time expires: nobody waits for it any more."""


@dataclass(frozen=True, eq=False)
class PendingPreview(PendingJob):
    """A POST that previews an edit."""

    edit: Job
    request: PreviewRequest

    @property
    def fingerprint(self) -> str:
        """The digest of the request and its edit."""
        return preview_task(self.edit, self.request).digest()

    def admit(self, session: Session, quota: JobQuota) -> NewJob:
        """Raise `NotPreviewable`, `TooManyPreviews`."""
        task = preview_task(self.edit, self.request)
        quota.reserve_preview(self.caller.tenant)
        return NewJob(task, self.caller.key_id, self.caller.tenant, "preview", max_queue_time=MAX_QUEUE_TIME)

    def complete(self, session: Session, job: Job, now: datetime) -> Acceptance:
        """Reply with the preview. Its audit entry has no digest of the prompt, which could be guessed from it."""
        entry = AuditEntry(job.tenant, job.api_key_id, "preview.create", job.id, {"edit": self.edit.id})
        return Acceptance(serializers.preview(job).model_dump_json(), [entry])


def preview_task(edit: Job, request: PreviewRequest) -> PreviewTask:
    """Return the job's request: with the published delta of the edit, and the sampler of its validation.

    Raises:
        NotPreviewable: the edit has published no weights, or they were deleted.
    """
    deltas = [file for file in edit.artifacts if file.kind == "delta"]
    if edit.status != "succeeded" or not deltas:
        raise NotPreviewable(
            f'Edit "{edit.id}" has no published weights; its status is {edit.status}.',
            remedy="Preview an edit that has published weights: its list of files includes delta.safetensors.",
        )
    validation = EditRequest.model_validate(edit.request).validation
    return PreviewTask(
        model=edit.model,
        edit=edit.id,
        delta_sha256=deltas[0].sha256,
        delta_size=deltas[0].size,
        prompt=request.prompt,
        seeds=request.seeds,
        steps=request.steps or validation.steps,
        guidance=validation.guidance,
        height=validation.height,
        width=validation.width,
    )
