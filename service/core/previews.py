"""Accept requests to preview an edit, or a group of features that is steered."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from api_schemas.edits import EditRequest
from api_schemas.features import AUTOENCODER_FILES
from api_schemas.previews import PreviewRequest, PreviewTask, Steering, SteeringRequest, StoredAutoencoder, StoredFile
from service.core import serializers
from service.core.app_state import AppState
from service.core.edits import Acceptance, PendingJob
from service.core.features import FeatureBrowser
from service.core.quotas import JobQuota
from service.errors import NotPreviewable
from service.store.audit import AuditEntry
from service.store.jobs import NewJob
from service.store.orm import Job

MAX_QUEUE_TIME = timedelta(hours=1)
"""A preview that no worker has started within this time expires: nobody waits for it any more."""


@dataclass(frozen=True, eq=False)
class PendingPreview(PendingJob):
    """A POST that previews an edit or steered features."""

    task: PreviewTask

    @property
    def fingerprint(self) -> str:
        """The digest of the request and of what it previews."""
        return self.task.digest()

    def validate(self, app_state: AppState) -> None:
        """Raise `UnknownModel`, `ModelNotAdmitted`."""
        app_state.registry.get_admitted(self.task.model)

    def admit(self, session: Session, quota: JobQuota) -> NewJob:
        """Raise `TooManyPreviews`."""
        quota.reserve_preview(self.caller.tenant)
        return NewJob(self.task, self.caller.key_id, self.caller.tenant, "preview", max_queue_time=MAX_QUEUE_TIME)

    def complete(self, session: Session, job: Job, now: datetime) -> Acceptance:
        """Reply with the preview. Its audit entry has no digest of the prompt, which could be guessed from it."""
        subject = {"edit": self.task.edit} if self.task.edit else {"model": job.model}
        entry = AuditEntry(job.tenant, job.api_key_id, "preview.create", job.id, subject)
        return Acceptance(serializers.preview(job).model_dump_json(), [entry])


def preview_task(edit: Job, request: PreviewRequest) -> PreviewTask:
    """Return the job's request for an edit: with the published delta of the edit, and the sampler of its validation.

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


def steering_task(browser: FeatureBrowser, request: SteeringRequest) -> PreviewTask:
    """Return the job's request for steered features. Raises `NotFound`: a feature is active in no image, or does not exist."""
    for latent in request.latents:
        browser.feature(latent)
    autoencoder = browser.autoencoder
    return PreviewTask(
        model=autoencoder.model,
        prompt=request.prompt,
        seeds=request.seeds,
        steps=request.steps,
        steering=Steering(kind=autoencoder.kind, latents=request.latents, scale=request.scale),
        autoencoder=StoredAutoencoder(
            module=autoencoder.module,
            files={
                name: StoredFile(sha256=file.sha256, size=file.size)
                for name, file in browser.files.items()
                if name in AUTOENCODER_FILES
            },
        ),
    )
