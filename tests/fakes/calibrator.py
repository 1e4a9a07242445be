"""A fake of `editor.jobs.calibration_job` that takes milliseconds. The seed is the number of crashes before it succeeds."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from api_schemas.calibrations import CalibrationTask
from api_schemas.jobs import InstrumentFigures
from api_schemas.plans import PlanEstimate
from tests.fakes.editor import ArtifactFile
from tests.fakes.model import WEIGHTS

FILES = {"sae/object/sae.safetensors": "application/octet-stream", "calibration.json": "application/json"}
FIGURES = InstrumentFigures(
    kind="object", known=14, unknown=1, module="mid_block", unexplained_variance=0.1, probe_accuracy=1, diffc_accuracy=1
)


@dataclass(frozen=True)
class CalibrationContext:
    task: CalibrationTask
    model_dir: Path
    workdir: Path
    cache_dir: Path
    progress: Callable[[str, float, str], None]
    shared_images: object = None
    warm: object = None
    components: Path | None = None
    profile: object = None
    time_limit: float | None = None
    report_estimate: Callable[[PlanEstimate], object] = lambda estimate: None


@dataclass(frozen=True)
class CalibratedModel:
    digest: str
    judge: str
    figures: list[InstrumentFigures]
    files: tuple[ArtifactFile, ...]


def base_digest(folder: Path) -> str:
    return sha256((folder / WEIGHTS).read_bytes()).hexdigest()


def calibrate(context: CalibrationContext) -> CalibratedModel:
    crashes = sorted(context.workdir.glob("crash*"))
    if len(crashes) < context.task.seed:
        (context.workdir / f"crash{len(crashes)}").touch()
        raise RuntimeError("a bug")
    context.report_estimate(PlanEstimate(images=800, seconds=90.0, memory=2_000_000_000))
    for step in range(20):
        context.progress("calibrate", step / 20, f"step {step}")
    for name in FILES:
        path = context.workdir / "calibration" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name} with {context.task.training_steps} steps")
    return CalibratedModel(
        base_digest(context.model_dir),
        "fake@0",
        [FIGURES],
        tuple(
            ArtifactFile(name, context.workdir / "calibration" / name, media, "calibration")
            for name, media in FILES.items()
        ),
    )
