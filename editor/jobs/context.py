"""What the caller of a job provides: the request, where things are, and how to report progress."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from api_schemas.edits import EditRequest
from api_schemas.plans import PlanEstimate
from editor import emoji
from editor.generation.device import DeviceSettings
from editor.generation.generated_pairs import PairObserver, ignore_pairs
from editor.generation.warm_pipelines import WarmPipelines
from editor.io.digest_cache import DIGEST_FOLDER
from editor.io.progress import SubProgress, report_to

if TYPE_CHECKING:
    from editor.generation.sampling import SharedCache
    from editor.prompts import Profile

JobProgress = Callable[[str, float, str], None]
"""Called with the phase, its finished fraction and a message. May raise to stop the job."""


DEFAULT_CACHE = Path("~/.cache/expunge")
CALIBRATIONS = "calibrations"
"""The folder of calibrations in the cache."""
COSTS = "costs"
"""The folder in the cache of what an image of each model costs."""


def ignore_progress(phase: str, fraction: float, message: str) -> None:
    """Report no progress."""


def ignore_estimate(estimate: PlanEstimate) -> None:
    """Report no estimate."""


class CalibrationSource(Protocol):
    """Where calibrations of base models come from."""

    def fetch(self, digest: str, folder: Path) -> None:
        """Make ``folder`` the calibration of the base model with these weights, if there is one. Never raises."""


@dataclass(frozen=True)
class JobContext:
    """The inputs of a job, as the worker and ``expunge erase`` provide them."""

    request: EditRequest
    model_dir: Path
    """A diffusers folder or a single-file checkpoint."""
    workdir: Path
    """Results of finished phases. A job that is started again with the same folder resumes where it stopped."""
    cache_dir: Path
    """Images of unedited models and digests of their files, shared by all jobs."""
    progress: JobProgress
    job_id: str
    now: datetime
    components: Path | None = None
    """A folder with what the model lacks to generate images, such as its autoencoder."""
    delta_only: bool = False
    """Publish no full weights."""
    ledger: Path | None = None
    """The folder of the ledger that the request joins; all its active removals are solved together."""
    label: str = ""
    """The caller's reference for this request in the ledger."""
    signing_dir: Path | None = None
    """The key folder whose newest key signs the bundle; ``EXPUNGE_SIGNING_KEY`` takes precedence."""
    profile: "Profile | None" = None
    """Used instead of the model's own profile."""
    shared_images: "SharedCache | None" = None
    """Images of unedited models that workers on other machines have generated too."""
    time_limit: float | None = None
    """Seconds that the job may take. A validation that would take longer is refused before anything is generated."""
    report_estimate: Callable[[PlanEstimate], object] = ignore_estimate
    """Called with the estimated cost of the validation before anything is generated."""
    show_images: PairObserver = ignore_pairs
    """Called with the images of the validation as they are generated. May raise to stop the job."""
    published_calibrations: CalibrationSource | None = None
    """Calibrations that other machines have published."""
    device: DeviceSettings = field(default_factory=DeviceSettings.from_environment)
    """Where models run: text encoders, denoiser, judges and attacks."""
    warm: WarmPipelines = field(default_factory=WarmPipelines)
    """Loads the pipeline, and keeps it for the next phase; a worker's for the next job too."""

    @property
    def digest_folder(self) -> Path:
        """The folder that stores digests of model files, shared by all jobs."""
        return self.cache_dir / DIGEST_FOLDER

    @property
    def cost_folder(self) -> Path:
        """The folder that stores what an image of each model costs on this machine, shared by all jobs."""
        return self.cache_dir / COSTS

    @property
    def calibrations(self) -> Path:
        """The folder with the calibration of each calibrated model, by its digest."""
        return self.cache_dir / CALIBRATIONS

    @property
    def out(self) -> Path:
        """The folder in which the bundle is written."""
        return self.workdir / "out"

    def phase_progress(self, phase: str, message: str) -> Callable[[float], None]:
        """Return a callback that reports a finished fraction of one phase."""
        return partial(self._report_fraction, phase, message)

    @contextmanager
    def reporting(self, phase: str, message: str, start: float = 0.0, share: float = 1.0) -> Iterator[None]:
        """Context manager: the block is a share of a phase, and what it reports is the phase's progress."""
        self.progress(phase, start, message)
        with report_to(SubProgress(self.phase_progress(phase, message), start, share)):
            yield
        self.progress(phase, start + share, message)

    def _report_fraction(self, phase: str, message: str, fraction: float) -> None:
        self.progress(phase, fraction, message)


def judge_folder() -> Path:
    """Return the judge's folder: ``EXPUNGE_JUDGE`` if set, else the embedded judge, which recognises emoji only."""
    return Path(os.environ.get("EXPUNGE_JUDGE") or emoji.JUDGE)
