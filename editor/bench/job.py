"""Benchmark of a whole edit without validation, from the model to the published folder, against the usual way.

The usual way loads the pipeline with diffusers in float16, applies the paper's closed form in float32, and saves the pipeline
(``job_peer``). Ours also forecasts the effect, writes the delta, two LoRAs and the edited weights, and publishes the report as
JSON, HTML and PDF. The models have the geometry of Stable Diffusion 1.5 (2.4 GB) and SDXL (6.9 GB), with random text encoders.
Cold is a new process; warm is a process that has edited the model before, as a worker has. The files are in the page cache, and
the digests of the base model are remembered from the first, untimed run.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from diffusers.utils.logging import disable_progress_bar as disable_diffusers_bar
from transformers.utils.logging import disable_progress_bar

from api_schemas.edits import EditRequest
from editor.bench import job_peer
from editor.bench.outcome import BenchmarkResult, Bound, Measurement, at_least, at_most, time_alternately
from editor.bench.synthetic_checkpoints import write_pipeline
from editor.io.digest_cache import SETTLED_SECONDS
from editor.jobs.local_erasure import erase

CONCEPT, REPLACEMENT = "fox", "dog"
FAMILIES: dict[str, Literal["sd1", "sdxl"]] = {"SD 1.5": "sd1", "SDXL": "sdxl"}
REPEATS = 3
MIN_SPEEDUP = {"SD 1.5, cold": 1.0, "SD 1.5, warm": 1.0, "SDXL, cold": 1.0, "SDXL, warm": 1.0}
MAX_SECONDS = {"SD 1.5, cold": 3.0, "SD 1.5, warm": 1.0, "SDXL, cold": 5.0, "SDXL, warm": 2.0}
REQUEST = EditRequest.model_validate(
    {
        "model": "benchmark",
        "removals": [{"concept": CONCEPT, "replacement": REPLACEMENT}],
        "validation": {"enabled": False},
    }
)


def run() -> BenchmarkResult:
    """Run the benchmark. The headline is the command at the size of Stable Diffusion 1.5."""
    disable_progress_bar()
    disable_diffusers_bar()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        measured = {}
        for label, family in FAMILIES.items():
            model = write_pipeline(root / family, family)
            time.sleep(SETTLED_SECONDS)
            measured[f"{label}, cold"] = compare(
                partial(run_command, model, root), partial(run_peer, model, root), root
            )
            measured[f"{label}, warm"] = compare(
                partial(run_job, model, root), partial(edit_pipeline, model, root), root
            )
            shutil.rmtree(model)
    ours, peer, ratio = measured["SD 1.5, cold"]
    return BenchmarkResult(name="job", ours=ours, peer=peer, ratio=ratio, bounds=make_bounds(measured))


def make_bounds(measured: dict[str, tuple[Measurement, Measurement, Measurement]]) -> list[Bound]:
    """Return the bounds on our time, and on its ratio to the peer's."""
    times = [at_most(f"{label}, s", ours.median, MAX_SECONDS[label]) for label, (ours, _, _) in measured.items()]
    ratios = [at_least(f"{label}, x", ratio.median, MIN_SPEEDUP[label]) for label, (_, _, ratio) in measured.items()]
    return times + ratios


def compare(
    ours: Callable[[], object], peer: Callable[[], object], root: Path
) -> tuple[Measurement, Measurement, Measurement]:
    """Time both sides alternately, each into an empty folder and with earlier writes on the disk."""

    def reset() -> None:
        shutil.rmtree(root / "out", ignore_errors=True)
        os.sync()

    return time_alternately(ours, peer, REPEATS, before_each=reset)


def run_command(model: Path, root: Path) -> None:
    """Run ``expunge erase`` in a new process. The cache folder remembers the digests of the base model."""
    command = [sys.executable, "-c", "from api_schemas.cli.main import main; main()", "erase"]
    options = ["--remove", f"{CONCEPT}={REPLACEMENT}", "--no-validate", "--model-dir", str(model)]
    folders = ["--out", str(root / "out"), "--cache-dir", str(root / "cache")]
    subprocess.run([*command, *options, *folders], check=True, stdout=subprocess.DEVNULL)


def run_peer(model: Path, root: Path) -> None:
    """Run the usual way in a new process."""
    command = [sys.executable, str(job_peer.__file__), str(model), str(root / "out"), CONCEPT, REPLACEMENT]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def run_job(model: Path, root: Path) -> None:
    """Edit and publish in this process, as a warm worker does."""
    erase(REQUEST, model, root / "out", cache=root / "cache")


def edit_pipeline(model: Path, root: Path) -> None:
    """Run the usual way in this process."""
    job_peer.edit_pipeline(model, root / "out", CONCEPT, REPLACEMENT)
