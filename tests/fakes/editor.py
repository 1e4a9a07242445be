"""A fake of `editor.jobs` that takes milliseconds.

The request's metadata controls it: `crash` names a phase that raises, `refuse` a phase that raises `ConceptError`, `slow` the
seconds of each phase (of the phase `slow_in` only, if given), `deaf` ignores cancellation, `fail` gives the verdict failed and
publishes the report only.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import numpy as np

from api_schemas.edits import EditRequest
from api_schemas.jobs import Verdict
from api_schemas.ledgers import LedgerSnapshot
from api_schemas.overlays import Overlay, Segment
from api_schemas.report import AuditReport, LedgerRecord, ModelRecord, SolveRecord
from editor.errors import ConceptError
from editor.generation.generated_pairs import GeneratedPair, PairObserver, ignore_pairs
from tests.fakes.model import WEIGHTS

PHASES = ("trace", "edit", "validate", "publish")
STEPS = 20
CARRIED = "carry\n"
"""What `tests.fakes.carrier` writes as the phases of a job."""


@dataclass(frozen=True)
class JobContext:
    request: EditRequest
    model_dir: Path
    workdir: Path
    cache_dir: Path
    progress: Callable[[str, float, str], None]
    job_id: str
    now: datetime
    signing_dir: Path | None = None
    ledger: Path | None = None
    label: str = ""
    shared_images: object = None
    components: Path | None = None
    profile: object = None
    time_limit: float | None = None
    published_calibrations: object = None
    report_estimate: object = None
    warm: object = None
    show_images: PairObserver = ignore_pairs


@dataclass(frozen=True)
class ArtifactFile:
    name: str
    path: Path
    media_type: str
    kind: str
    overlay: Overlay | None = None


def finished(phase: str, context: JobContext) -> bool:
    return (context.workdir / phase).is_file()


def run_phase(phase: str, context: JobContext) -> None:
    wishes = context.request.metadata
    if wishes.get("refuse") == phase and wishes.get("refuse_model", context.request.model) == context.request.model:
        raise ConceptError("the concept is out of reach.", field="removals[0].concept", remedy="Try another.")
    if wishes.get("crash") == phase:
        raise RuntimeError(f"a bug in the removal of {context.request.removals[0].concept}")
    with (context.workdir / "runs").open("a") as runs:
        runs.write(f"{phase}\n")
    seconds = float(wishes.get("slow", "0")) if wishes.get("slow_in", phase) == phase else 0.0
    for step in range(STEPS):
        time.sleep(seconds / STEPS)
        with suppress(Exception if wishes.get("deaf") else ()):
            context.progress(phase, step / STEPS, f"{phase}, step {step}")
            if phase == "validate":
                context.show_images([make_pair(context, step)])
    if phase == "publish":
        _write(context)
    (context.workdir / phase).write_text("done")


def make_pair(context: JobContext, step: int) -> GeneratedPair:
    """Return images of one colour; the edited model has not generated every fourth one yet."""
    before, after = (np.full((64, 64, 3), (level, 12 * step, 90), np.uint8) for level in (200, 40))
    prompt = f"a photo of {context.request.removals[0].concept}"
    return GeneratedPair(prompt, step, before, None if step % 4 == 3 else after)


def write_snapshot(folder: Path, model_dir: Path, held: LedgerSnapshot) -> Path:
    """Write a fake ledger, whose digest is that of its concept names."""
    folder.mkdir(parents=True)
    (folder / "ledger.json").write_text(held.model_dump_json())
    return folder


def ledger_record(context: JobContext, joining: list[str]) -> LedgerRecord | None:
    if context.ledger is None:
        return None
    held = LedgerSnapshot.model_validate_json((context.ledger / "ledger.json").read_bytes())
    names = sorted({one.removal.concept for one in held.active} | set(joining))
    back = [one.removal.concept for one in held.revoked if one.removal.concept not in names]
    return LedgerRecord(digest=sha256(repr(names).encode()).hexdigest(), active=len(names), taken_back=back)


def artifacts(context: JobContext) -> tuple[ArtifactFile, ...]:
    files = [
        ("delta.safetensors", "application/octet-stream", "delta"),
        (WEIGHTS, "application/octet-stream", "weights"),
        ("report.json", "application/json", "report"),
        ("report.html", "text/html; charset=utf-8", "report"),
        ("report.pdf", "application/pdf", "report"),
        ("runs.txt", "text/plain; charset=utf-8", "log"),
    ]
    if context.request.metadata.get("fail"):
        files = [file for file in files if file[2] in ("report", "log")]
    out, overlays = context.workdir / "out", {WEIGHTS: _overlay(context)}
    return tuple(ArtifactFile(name, out / name, media, kind, overlays.get(name)) for name, media, kind in files)


def solved_parameters(context: JobContext) -> list[dict[str, object]]:
    return [{"candidates": [f"not {one.concept}"]} for one in context.request.removals] if context.ledger else []


def verdict(context: JobContext) -> Verdict | None:
    if (context.workdir / "runs").read_text() == CARRIED:
        return None
    found: Verdict = "failed" if context.request.metadata.get("fail") else "passed"
    return found if context.request.validation.enabled else None


def _write(context: JobContext) -> None:
    out = context.workdir / "out"
    out.mkdir(exist_ok=True)
    (out / "delta.safetensors").write_bytes(bytes(range(256)) * 16)
    (out / "report.json").write_text(_report(context).model_dump_json())
    (out / "report.html").write_text("<!doctype html><title>report</title>")
    (out / "report.pdf").write_bytes(b"%PDF-1.7\n")
    (out / "runs.txt").write_text((context.workdir / "runs").read_text())


def _overlay(context: JobContext) -> Overlay:
    """Return an overlay with a part of the delta in the middle of the base file, like the real editor's full weights."""
    base, delta = context.model_dir / WEIGHTS, (context.workdir / "out" / "delta.safetensors").read_bytes()
    content, state = base.read_bytes(), base.stat()
    return Overlay(
        base=WEIGHTS,
        base_sha256=sha256(content).hexdigest(),
        base_size=state.st_size,
        base_mtime_ns=state.st_mtime_ns,
        delta_sha256=sha256(delta).hexdigest(),
        segments=(
            Segment(source="base", start=0, end=1000),
            Segment(source="delta", start=10, end=510),
            Segment(source="base", start=1500, end=len(content)),
        ),
        sha256=sha256(content[:1000] + delta[10:510] + content[1500:]).hexdigest(),
    )


def _report(context: JobContext) -> AuditReport:
    """Return a minimal valid report."""
    solve = SolveRecord(
        method="default",
        component="text_encoder",
        tensor="x",
        layer=0,
        columns=1,
        rank=1,
        preservation=1.0,
        ridge=1.0,
        condition=1.0,
        relative_change=0.0,
        null_prompt_drift=0.0,
        predicted_retain_p95=0.0,
        seconds=0.0,
        trade_off=[],
    )
    return AuditReport(
        job_id=context.job_id,
        created_at=context.now,
        model=ModelRecord(id=context.request.model, family="fake", files={}),
        removals=[],
        solves=[solve],
        traces=[],
        ledger=ledger_record(context, [removal.concept for removal in context.request.removals]),
        validation=None,
        verdict=verdict(context),
        refused="No weights were published." if context.request.metadata.get("fail") else None,
        limits=[],
        untested=[],
        artifacts=[],
        software={},
    )
