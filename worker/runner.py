"""Handles one message: claims the job, runs its phases and records the outcome."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from celery.exceptions import SoftTimeLimitExceeded

from api_schemas.calibrations import CalibrationTask
from api_schemas.edits import EditRequest
from api_schemas.fleets import FleetTask
from api_schemas.jobs import QUICK_KINDS, Status
from api_schemas.previews import PreviewTask
from api_schemas.registrations import RegistrationTask
from editor.errors import EditorError
from editor.generation.warm_pipelines import WarmPipelines
from editor.io.digest_cache import DIGEST_FOLDER, remembered_digest
from service.store import claims, fair_queue, logs, registered_files
from service.store.base_models import ModelRegistry, RegisteredModel
from service.store.blobs import ArtifactStore
from service.store.calibrations import NewCalibration
from service.store.celery_config import EDIT_QUEUE
from service.store.claims import Claim
from service.store.clock import Clock, utc_now
from service.store.database import Database
from service.store.errors import BlobCorrupted, BlobMissing, LedgerMoved, StoreError, StoreUnavailable
from service.store.failpoints import failpoint
from service.store.orm import Job
from worker import (
    calibration,
    carry,
    db_retry,
    job_errors,
    job_protocol,
    ledger_snapshot,
    preview,
    registration,
    samples,
    statement,
    upload,
)
from worker.calibration import PublishedCalibrations
from worker.errors import JobCanceled, LeaseLost, WorkerStopped
from worker.lease import Lease
from worker.outcomes import OutcomeRecorder, RunResult
from worker.progress import ProgressReporter
from worker.registration import Registration
from worker.settings import WorkerSettings

if TYPE_CHECKING:
    from editor import jobs
    from editor.generation.sampling import SharedCache

log = logging.getLogger(__name__)


@dataclass
class WarmBase:
    """The base model that this process used last, whose files and weights are in memory."""

    model: str | None = None


@dataclass(frozen=True)
class Runner:
    """Runs one job at a time."""

    settings: WorkerSettings
    database: Database
    blobs: ArtifactStore
    registry: ModelRegistry
    clock: Clock = utc_now
    stop: threading.Event = field(default_factory=threading.Event)
    """Interrupts the running job when it is set."""
    warm_base: WarmBase = field(default_factory=WarmBase)
    warm_pipelines: WarmPipelines = field(default_factory=WarmPipelines)
    """The pipeline of the last job, which stays in memory for the next one on the same base model."""
    shared_images: "SharedCache | None" = None
    """Images of base models that other workers have generated."""

    @classmethod
    def from_settings(cls, settings: WorkerSettings) -> "Runner":
        """Create a runner from the settings."""
        return cls(
            settings,
            settings.database(),
            settings.blobs(),
            settings.registry(),
            shared_images=settings.bucket_cache(),
        )

    @property
    def pipelines(self) -> WarmPipelines:
        """Where a job's pipeline is kept. A process that only makes dry runs measures each model once, and then frees it."""
        return self.warm_pipelines if EDIT_QUEUE in self.settings.queues.split(",") else WarmPipelines()

    def run(self, job_id: str) -> None:
        """Handle the message of a job: run the job that is next in its queue. Returns when that job has ended."""
        self._claim_and_run(partial(fair_queue.claim_next, warm_model=self.warm_base.model), job_id)

    def run_job(self, job_id: str) -> None:
        """Run the job itself, whatever is before it in its queue. Returns when it has ended, or has to be tried again."""
        self._claim_and_run(claims.claim, job_id)

    def read_status(self, job_id: str) -> Status | None:
        """Return the status of a job, or None if there is none with this id."""
        with self.database.read() as session:
            job = session.get(Job, job_id)
            return job.status if job else None

    def _claim_and_run(self, take: Callable[..., Claim | None], job_id: str) -> None:
        failpoint("claim.received")
        claim = db_retry.write_with_retry(
            self.database,
            lambda session: take(
                session, job_id, owner=self.settings.owner, lease=self.settings.lease, now=self.clock()
            ),
        )
        if claim is None:
            log.info("%s: has ended or is claimed by another worker", job_id)
            return
        failpoint("claim.committed")
        self.warm_base.model = claim.request.model
        with (
            logs.bound_contextvars(job_id=claim.job_id),
            Lease(self.database, claim, self.settings, self.clock, stop=self.stop) as lease,
        ):
            self._attempt(
                claim, ProgressReporter(self.database, claim, lease, self.settings.progress_seconds, self.clock)
            )

    def _attempt(self, claim: Claim, progress: ProgressReporter) -> None:
        """Run the job and record the outcome."""
        outcomes = OutcomeRecorder(self.settings, self.database, self.registry, self.clock)
        try:
            outcomes.succeed(claim, self._run_job(claim, progress))
        except LeaseLost:
            log.warning("%s: the lease was lost to another worker", claim.job_id)
        except JobCanceled:
            outcomes.cancel(claim)
        except WorkerStopped:
            outcomes.requeue(claim, "the worker was stopped, queued again")
        except StoreUnavailable as error:
            outcomes.retry(claim, error, progress.phase)
        except LedgerMoved as error:
            outcomes.requeue(claim, error.message)
        except (EditorError, StoreError) as error:
            outcomes.fail(claim, job_errors.refused_error(error, progress.phase))
        except SoftTimeLimitExceeded:
            outcomes.fail(claim, job_errors.time_limit_error(self.settings.hard_limit_seconds, progress.phase))
        except Exception as error:
            job_errors.log_crash(claim, error)
            outcomes.retry(claim, error, progress.phase)

    def _run_job(self, claim: Claim, progress: ProgressReporter) -> RunResult:
        """Run a job. Raises `UnknownModel`, `RefusedModel`, `RegisteredModelChanged`."""
        if isinstance(claim.request, FleetTask):
            return self._run_statement(claim, claim.request, progress)
        model = self.registry.get(claim.request.model)
        if isinstance(claim.request, RegistrationTask):
            return self._run_registration(model, progress)
        registered_files.check_unchanged(self.database, model, self._digest_function(claim))
        if isinstance(claim.request, CalibrationTask):
            return self._run_calibration(claim, claim.request, model, progress)
        if isinstance(claim.request, PreviewTask):
            return self._run_preview(claim, claim.request, model, progress)
        return self._run_phases(claim, claim.request, model, progress)

    def _run_statement(self, claim: Claim, task: FleetTask, progress: ProgressReporter) -> RunResult:
        """Sign the statement of a fleet."""
        workdir = self.settings.workdir(claim.job_id)
        self._make_folders(workdir)
        progress.phases = statement.PHASES
        progress.start_phase("publish")
        files = statement.write_statement(self.database, task.fleet, workdir, self.settings.signing_dir, self.clock())
        failpoint("statement.written")
        return RunResult(upload.store_artifacts(self.blobs, claim, files, progress.check))

    def _run_registration(self, model: RegisteredModel, progress: ProgressReporter) -> RunResult:
        """Read a base model, whatever its status is. The digests that the operator has registered must be valid."""
        if model.source == "operator":
            registered_files.check_unchanged(self.database, model)
        self.settings.cache_dir.mkdir(parents=True, exist_ok=True)
        hub = registration.find(self.database, model)
        return RunResult([], description=Registration(self.settings, model, hub, progress).run())

    def _run_calibration(
        self, claim: Claim, task: CalibrationTask, model: RegisteredModel, progress: ProgressReporter
    ) -> RunResult:
        """Calibrate a base model. An attempt resumes where the last one stopped."""
        module, workdir = calibration.load(self.settings.calibrator), self.settings.workdir(claim.job_id)
        self._make_folders(workdir)
        context = module.CalibrationContext(
            task,
            model.path,
            workdir,
            self.settings.cache_dir,
            progress,
            self.shared_images,
            self.warm_pipelines,
            components=model.components,
            profile=registration.parse_profile(model),
            time_limit=self.settings.hard_limit_seconds,
            report_estimate=progress.report_estimate,
        )
        progress.phases = calibration.PHASES
        progress.start_phase("calibrate")
        failpoint("phase.entered.calibrate")
        found = module.calibrate(context)
        failpoint("phase.done.calibrate")
        progress.start_phase("publish")
        stored = upload.store_artifacts(self.blobs, claim, found.files, progress.check)
        return RunResult(stored, calibration=NewCalibration(found.digest, found.judge, found.figures))

    def _run_preview(
        self, claim: Claim, task: PreviewTask, model: RegisteredModel, progress: ProgressReporter
    ) -> RunResult:
        """Generate the images of a preview: by the base model, and with an edit or with steered features."""
        module, workdir = preview.load(self.settings.previewer), self.settings.workdir(claim.job_id)
        self._make_folders(workdir)
        progress.phases = preview.PHASES
        progress.start_phase("generate")
        failpoint("phase.entered.generate")
        change = preview.fetch_change(self.blobs, task, workdir)
        files = module.generate(
            module.PreviewContext(
                task, model.path, change, workdir, progress, model.components, warm=self.warm_pipelines
            )
        )
        failpoint("phase.done.generate")
        progress.start_phase("publish")
        return RunResult(upload.store_artifacts(self.blobs, claim, files, progress.check))

    def _run_phases(
        self, claim: Claim, request: EditRequest, model: RegisteredModel, progress: ProgressReporter
    ) -> RunResult:
        """Run all phases that an earlier attempt has not finished."""
        editor = job_protocol.load(self.settings.module(claim.kind))
        context = self._context(editor, claim, request, model, progress)
        progress.phases = editor.PHASES
        is_carried = self._carry(claim, context, progress)
        for phase in () if is_carried else editor.PHASES:
            if not editor.finished(phase, context):
                progress.start_phase(phase)
                failpoint(f"phase.entered.{phase}")
                editor.run_phase(phase, context)
                failpoint(f"phase.done.{phase}")
        files = editor.artifacts(context)
        found = editor.solved_parameters(context) if claim.creates_revision else []
        next_revision = ledger_snapshot.next_revision(claim, context.workdir, files, found)
        stored = upload.store_artifacts(self.blobs, claim, files, progress.check)
        return RunResult(stored, editor.verdict(context), next_revision, is_carried=is_carried)

    def _carry(self, claim: Claim, context: "jobs.JobContext", progress: ProgressReporter) -> bool:
        """Carry over the delta that another edit of the fleet has solved. Returns False if the job must solve its own."""
        source = carry.find_source(self.database, claim) if claim.kind == "removal" else None
        if source is None:
            return False
        progress.start_phase("publish")
        failpoint("phase.entered.publish")
        try:
            carry.load(self.settings.carrier).carry(context, source.fetch(self.blobs, self.settings.cache_dir))
        except (EditorError, BlobMissing, BlobCorrupted) as error:
            log.warning("%s: the delta of %s is not carried over: %s", claim.job_id, source.edit_id, error.code)
            return False
        failpoint("phase.done.publish")
        failpoint("delta.carried")
        return True

    def _digest_function(self, claim: Claim) -> Callable[[Path], str] | None:
        """Return how to digest the base model's files. None for a small job: it publishes no weights, and a client waits."""
        if claim.kind in QUICK_KINDS:
            return None
        return partial(remembered_digest, folder=self.settings.cache_dir / DIGEST_FOLDER)

    def _make_folders(self, workdir: Path) -> None:
        for folder in (workdir, self.settings.cache_dir):
            folder.mkdir(parents=True, exist_ok=True)

    def _context(
        self,
        editor: job_protocol.JobModule,
        claim: Claim,
        request: EditRequest,
        model: RegisteredModel,
        progress: ProgressReporter,
    ) -> "jobs.JobContext":
        """Build the context of the phases."""
        workdir = self.settings.workdir(claim.job_id)
        ledger = ledger_snapshot.prepare_ledger(self.database, claim, editor, model.path, workdir)
        self._make_folders(workdir)
        return editor.JobContext(
            request=request,
            model_dir=model.path,
            components=model.components,
            profile=registration.parse_profile(model),
            workdir=workdir,
            cache_dir=self.settings.cache_dir,
            progress=progress,
            job_id=claim.job_id,
            now=self.clock(),
            signing_dir=self.settings.signing_dir,
            ledger=ledger,
            label=claim.job_id,
            shared_images=self.shared_images,
            time_limit=self.settings.hard_limit_seconds,
            report_estimate=progress.report_estimate,
            show_images=samples.sample_recorder(claim, progress, self.settings),
            published_calibrations=PublishedCalibrations(self.database, self.blobs),
            warm=self.pipelines,
        )
