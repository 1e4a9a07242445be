"""An erasure from end to end on this machine, without a service."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from api_schemas.conflicts import Conflict
from api_schemas.edits import EditRequest
from api_schemas.plans import PlanEstimate
from api_schemas.report import AuditReport
from editor.generation.device import DeviceSettings
from editor.jobs.context import DEFAULT_CACHE, JobContext, JobProgress, ignore_estimate, ignore_progress
from editor.jobs.erase import EraseJob
from editor.prompts import Profile


@dataclass(frozen=True)
class Erasure:
    """What an erasure published."""

    report: AuditReport
    files: list[Path]
    warnings: list[Conflict]
    """Conflicts among the removals, and with the ledger's, that the edit tolerates."""
    estimate: PlanEstimate | None = None
    """What the validation was estimated to cost; None without one."""


def erase(
    request: EditRequest,
    model: Path,
    out: Path,
    *,
    cache: Path = DEFAULT_CACHE,
    ledger: Path | None = None,
    label: str = "",
    signing_keys: Path | None = None,
    delta_only: bool = False,
    components: Path | None = None,
    profile: Profile | None = None,
    device: DeviceSettings | None = None,
    progress: JobProgress = ignore_progress,
    report_estimate: Callable[[PlanEstimate], object] = ignore_estimate,
) -> Erasure:
    """Run a whole erasure on this machine: trace, edit, validate, publish; then deliver the files.

    Args:
        request: the removals, the options of the edit and of its validation.
        model: a diffusers folder or a single-file checkpoint.
        out: the folder for the published files.
        cache: images of unedited models.
        ledger: the folder of the ledger to join; all its active removals are solved together.
        label: the caller's reference for the request in the ledger.
        signing_keys: the key folder whose newest key signs the files.
        delta_only: publish no full weights.
        components: a folder with what the model lacks to generate images, such as its autoencoder.
        profile: used instead of the model's own; not with a ledger.
        device: where models run; None: as the environment sets it.
        progress: called with the phase, its finished fraction and a message; may raise to stop.
        report_estimate: called with the cost of the validation before anything is generated.

    Raises:
        ExpungeError: the request, the model, the judge or the ledger cannot be used. Nothing is delivered.
    """
    with tempfile.TemporaryDirectory() as workdir:
        context = JobContext(
            request=request,
            model_dir=model,
            workdir=Path(workdir),
            cache_dir=cache.expanduser(),
            progress=progress,
            job_id="offline",
            now=datetime.now(UTC),
            delta_only=delta_only,
            ledger=ledger,
            label=label,
            signing_dir=signing_keys,
            components=components,
            profile=profile,
            device=device or DeviceSettings.from_environment(),
            report_estimate=report_estimate,
        )
        job = EraseJob(context)
        report = job.publish()
        return Erasure(report, job.deliver(out), job.final_edit().warnings, job.trace().estimate)
