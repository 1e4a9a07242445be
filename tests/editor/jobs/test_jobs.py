"""Whole requests on the embedded model with few prompts and steps: phases, resumption, the cache and the published files."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import CLIPTextModel

from api_schemas.edits import EditRequest
from api_schemas.report import AuditReport
from editor import jobs
from editor.emoji import WEIGHTS
from editor.errors import CheckpointError, ConceptError, JudgeError, PublishingError
from editor.generation.config import ImageSpec, Sampler
from editor.generation.pipelines import load_pipeline
from editor.generation.sampling import generate_images
from editor.io.digests import file_digest
from editor.jobs import validate_phase
from editor.jobs.results import TraceResult
from editor.judging.policies import load_policy, resolve_policy
from editor.ledger import LedgerFolder
from editor.publishing import bundle
from editor.publishing.export import read_report

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SMALL_VALIDATION = {"steps": 2, "retain_prompts": 4, "prompts": 6, "budget": {"rounds": 0}}
"""Nothing is decided by so few prompts; `test_refinement` covers the rounds."""
FOX: dict[str, Any] = {"removals": [{"concept": "fox", "replacement": "dog face"}], "validation": SMALL_VALIDATION}

Make = Callable[..., jobs.JobContext]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    cache = tmp_path_factory.mktemp("cache")

    def context(request: dict[str, Any] = FOX, **changes: Any) -> jobs.JobContext:
        values: dict[str, Any] = {
            "request": EditRequest.model_validate(request),
            "model_dir": WEIGHTS,
            "workdir": tmp_path_factory.mktemp("work"),
            "cache_dir": cache,
            "progress": lambda phase, done, message: None,
            "job_id": "edit_1",
            "now": NOW,
        }
        return jobs.JobContext(**(values | changes))

    return context


def run_phases(context: jobs.JobContext) -> None:
    for phase in jobs.PHASES:
        jobs.run_phase(phase, context)


def deliver(context: jobs.JobContext, out: Path) -> list[Path]:
    return jobs.EraseJob(context).deliver(out)


def skip_trace(context: jobs.JobContext) -> None:
    """Store a trace result without traces: the edit does not need them."""
    policy = resolve_policy(context.request.validation)
    jobs.EraseJob(context).phases.run("trace", TraceResult, lambda: TraceResult(policy=policy))


@pytest.fixture(scope="module")
def done(make: Make) -> jobs.JobContext:
    context = make()
    for phase in jobs.PHASES:
        assert not jobs.finished(phase, context)
        jobs.run_phase(phase, context)
        assert jobs.finished(phase, context)
    return context


@pytest.fixture(scope="module")
def report(done: jobs.JobContext) -> AuditReport:
    return AuditReport.model_validate_json((done.out / "report.json").read_bytes())


@pytest.fixture(scope="module")
def delivered(done: jobs.JobContext, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("delivered")
    assert deliver(done, out)[-1] == out / "report.json"
    return out


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no sample sheets and charts: `done` has them."""
    monkeypatch.setattr(validate_phase, "make_sample_sheets", lambda *_: [])
    monkeypatch.setattr(bundle, "make_charts", lambda *_: [])


def test_every_artifact_is_listed_with_its_digest(done: jobs.JobContext, report: AuditReport, delivered: Path) -> None:
    names = [artifact.name for artifact in jobs.artifacts(done)]
    assert names[-1] == "report.json"
    assert {"delta.safetensors", "lora.safetensors", "text_encoder/model.safetensors", "report.html"} <= set(names)
    for record in report.artifacts:
        assert record.sha256 == file_digest(delivered / record.name)
    assert not (done.out / "text_encoder" / "model.safetensors").exists(), "full weights are written on delivery"


def test_report_contains_the_request_and_the_results(report: AuditReport) -> None:
    assert report.removals[0].destination == "dog face"
    assert report.validation is not None
    groups = [(group.group, group.asks) for group in report.validation.groups]
    assert groups == [
        ("target", "object"),
        ("generality", "object"),
        ("neighbours", "object"),
        ("destination", "object"),
        ("retain", "object"),
        ("retain", "style"),
    ]
    assert len(report.validation.checks) == len(groups)
    (solve,) = report.solves
    assert solve.seconds < 0.5
    assert report.created_at == NOW
    seen = set(report.removals[0].edit_prompts)
    (unseen,) = (group for group in report.validation.groups if group.group == "generality")
    assert seen.isdisjoint(unseen.prompts)
    assert all("fox" in prompt for prompt in unseen.prompts)


def test_model_that_cannot_generate_images_is_refused_before_any_work(make: Make, model_dir: Path) -> None:
    """A single text encoder can be edited only without validation."""
    context = make(model_dir=model_dir)
    with pytest.raises(CheckpointError, match="contains no denoiser") as caught:
        jobs.run_phase("trace", context)
    assert caught.value.field == "validation.enabled"
    assert not list(context.workdir.iterdir())


def test_trace_selects_the_first_self_attention_layer(report: AuditReport) -> None:
    (trace,) = report.traces
    assert trace.causal_site == "layer 0 self_attention"
    assert trace.edited_site_is_causal
    assert trace.clean_score > trace.corrupted_score
    assert len(trace.sites) == 12
    assert trace.by_word
    assert [word.text for word in trace.by_word.words if word.subject] == ["fox"]


def test_delta_lora_and_full_weights_generate_the_same_images(delivered: Path) -> None:
    from safetensors.torch import load_file

    shots, sampler = [ImageSpec("a fox in the style of noto", 1), ImageSpec("a pizza, ink", 2)], Sampler(4, 3.0)
    images = {}
    full = load_pipeline(WEIGHTS)
    full.text_encoder = CLIPTextModel.from_pretrained(delivered / "text_encoder", dtype=torch.float32)
    images["full"] = generate_images(full, sampler, shots)
    patched = load_pipeline(WEIGHTS)
    delta = {name.partition(":")[2]: tensor for name, tensor in load_file(delivered / "delta.safetensors").items()}
    assert not patched.text_encoder.load_state_dict(delta, strict=False).unexpected_keys
    images["delta"] = generate_images(patched, sampler, shots)
    adapted: Any = load_pipeline(WEIGHTS)
    adapted.load_lora_weights(delivered / "lora.safetensors")
    images["lora"] = generate_images(adapted, sampler, shots)
    base = generate_images(load_pipeline(WEIGHTS), sampler, shots)
    for form in ("delta", "lora"):
        gap = np.abs(np.stack(images[form]).astype(int) - np.stack(images["full"]).astype(int)).mean() / 255
        assert gap <= 1e-3
    assert np.abs(base[0].astype(int) - images["full"][0].astype(int)).mean() > 5, "the fox changed"


@pytest.mark.usefixtures("without_pictures")
def test_second_job_reuses_the_images_of_the_base_model(
    make: Make, done: jobs.JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[ImageSpec] = []
    real = generate_images

    def counting(pipeline: Any, sampler: Sampler, specs: list[ImageSpec], *callbacks: Any) -> Any:
        drawn.extend(specs)
        return real(pipeline, sampler, specs, *callbacks)

    monkeypatch.setattr("editor.generation.sampling.generate_images", counting)
    context = make()
    skip_trace(context)
    jobs.run_phase("validate", context)
    assert len(drawn) == len(set(drawn)), "only the images of the edited model, each once"


@pytest.mark.usefixtures("without_pictures")
def test_killed_job_resumes_at_its_phase_with_the_same_bytes(make: Make, done: jobs.JobContext) -> None:
    class Killed(Exception):
        pass

    def kill(phase: str, fraction: float, message: str) -> None:
        if phase == "validate" and fraction > 0.5:
            raise Killed

    context = make(progress=kill)
    jobs.run_phase("edit", context)
    with pytest.raises(Killed):
        jobs.run_phase("validate", context)
    assert [jobs.finished(phase, context) for phase in jobs.PHASES] == [True, True, False, False]
    again = replace(context, progress=lambda phase, fraction, message: None)
    for phase in jobs.PHASES:
        if not jobs.finished(phase, again):
            jobs.run_phase(phase, again)
    for name in ("delta.safetensors", "lora.safetensors"):
        assert (again.out / name).read_bytes() == (done.out / name).read_bytes()
    first, second = (AuditReport.model_validate_json((c.out / "report.json").read_bytes()) for c in (done, again))
    weights = [[a.sha256 for a in report.artifacts if a.kind == "weights"] for report in (first, second)]
    assert weights[0] == weights[1] != []
    assert (second.traces, second.removals, second.validation) == (first.traces, first.removals, first.validation)


def test_report_without_validation_has_no_verdict(make: Make) -> None:
    context = make(FOX | {"validation": {"enabled": False}})
    run_phases(context)
    report = json.loads((context.out / "report.json").read_text())
    assert report["verdict"] is None
    assert any("no image was generated" in line for line in report["untested"])


def test_full_weights_are_not_published_or_hashed_with_delta_only(make: Make, tmp_path: Path) -> None:
    context = make(FOX | {"validation": {"enabled": False}}, delta_only=True)
    run_phases(context)
    assert all(artifact.overlay is None for artifact in jobs.artifacts(context))
    deliver(context, tmp_path)
    assert not (tmp_path / "text_encoder").exists()
    assert (tmp_path / "delta.safetensors").exists()


def test_name_of_mixed_scripts_is_warned_about_without_a_ledger(make: Make) -> None:
    mixed = {"removals": [{"concept": "f\N{CYRILLIC SMALL LETTER O}x"}], "validation": {"enabled": False}}
    job = jobs.EraseJob(make(FOX | mixed))
    assert [warning.kind for warning in job.edit().warnings] == ["mixed_scripts"]


def test_concept_that_is_too_long_is_refused_with_its_field(make: Make) -> None:
    context = make({"removals": [{"concept": "fox"}, {"concept": "x" * 60, "kind": "style"}]})
    with pytest.raises(ConceptError) as caught:
        _ = jobs.EraseJob(context).removals
    assert caught.value.field == "removals[1].concept"


def test_a_judge_that_is_part_of_the_model_is_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPUNGE_JUDGE", str(WEIGHTS / "text_encoder"))
    with pytest.raises(JudgeError, match="being edited"):
        _ = jobs.EraseJob(make()).judge


def test_a_missing_judge_is_refused(make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EXPUNGE_JUDGE", str(tmp_path))
    with pytest.raises(JudgeError, match="EXPUNGE_JUDGE"):
        _ = jobs.EraseJob(make()).judge


def test_folder_without_a_model_is_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        _ = jobs.EraseJob(make(model_dir=tmp_path)).model
    assert caught.value.field == "model"


def test_base_that_changed_after_publishing_is_not_delivered(make: Make, tmp_path: Path) -> None:
    model = shutil.copytree(WEIGHTS, tmp_path / "model")
    context = make(FOX | {"validation": {"enabled": False}}, model_dir=model)
    run_phases(context)
    os.utime(model / "text_encoder" / "model.safetensors", ns=(1, 1))
    with pytest.raises(PublishingError, match="has changed since"):
        deliver(context, tmp_path / "out")
    assert not (tmp_path / "out" / "report.json").exists()
    assert not (tmp_path / "out" / "text_encoder" / "model.safetensors").exists()


def test_report_lists_an_unedited_t5_encoder_as_a_limit(make: Make, model_dir: Path, tmp_path: Path) -> None:
    flux = Path(shutil.copytree(model_dir, tmp_path / "flux"))
    (flux / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    (flux / "text_encoder_2").mkdir()
    (flux / "text_encoder_2" / "config.json").write_text(json.dumps({"model_type": "t5"}))
    context = make(FOX | {"validation": {"enabled": False}}, model_dir=flux, delta_only=True)
    run_phases(context)
    report = read_report(context.out)
    assert report.model.family == "flux"
    assert any("T5 (text_encoder_2)" in limit for limit in report.limits)
    assert "T5 (text_encoder_2)" in (context.out / "report.html").read_text()


def test_earlier_removals_of_the_ledger_are_not_evaluated_or_named(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check all prompts that are generated for the second request of a ledger, and its report."""
    others = {"removals": [{"concept": "pizza", "replacement": "hot dog", "preserve": ["zeppelin"]}]}
    first = make(others | {"validation": {"enabled": False}}, ledger=tmp_path, delta_only=True)
    run_phases(first)
    deliver(first, tmp_path / "first")
    second = make(FOX | {"validation": {"steps": 1, "retain_prompts": 2000}}, ledger=tmp_path, delta_only=True)
    skip_trace(second)
    prompts: list[str] = []

    class Stop(Exception):
        pass

    def plan_evaluations(groups: list[Any], gates: list[Any], *others: Any) -> None:
        prompts.extend(prompt for group in groups for prompt in group.prompts)
        raise Stop

    monkeypatch.setattr("editor.jobs.validate_phase.plan_evaluations", plan_evaluations)
    with pytest.raises(Stop):
        jobs.run_phase("validate", second)
    assert len(prompts) > 200
    assert not [prompt for prompt in prompts if "pizza" in prompt or "zeppelin" in prompt]
    done = jobs.EraseJob(second).edit().model_copy(update={"ledger": None})
    assert "pizza" not in done.model_dump_json()
    assert "zeppelin" not in done.model_dump_json()


@pytest.mark.usefixtures("without_pictures")
def test_weights_are_published_only_if_passed_under_that_policy(make: Make, tmp_path: Path) -> None:
    """Six prompts are too few to pass. The edit is not added to the ledger either."""
    few = FOX | {"validation": SMALL_VALIDATION | {"publish_policy": "only_if_passed"}}
    context = make(few, ledger=tmp_path / "ledger")
    run_phases(context)
    delivered = {path.relative_to(tmp_path / "out").as_posix() for path in deliver(context, tmp_path / "out")}
    report = read_report(context.out)
    assert report.verdict == "inconclusive"
    assert report.refused is not None
    assert {"report.json", "report.html", "report.pdf"} <= delivered
    assert not [name for name in delivered if name.endswith((".safetensors", "README.md"))]
    assert not [artifact for artifact in report.artifacts if artifact.kind in ("weights", "delta", "lora", "card")]
    assert "No weights were published" in (tmp_path / "out" / "report.html").read_text()
    assert not LedgerFolder(tmp_path / "ledger").file.exists()


@pytest.mark.usefixtures("without_pictures")
def test_policy_changes_during_a_job_have_no_effect(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy file that changes while the job runs has no effect."""
    monkeypatch.setenv("EXPUNGE_POLICIES", str(tmp_path))
    file = tmp_path / "ours.toml"
    file.write_text('gates = [{ measure = "neighbour_drop", threshold = 0.5 }]')
    context = make(FOX | {"validation": SMALL_VALIDATION | {"steps": 1, "policy": "ours"}})
    fixed = load_policy("ours").digest()
    jobs.run_phase("edit", context)
    file.write_text('gates = [{ measure = "neighbour_drop", threshold = 1.0 }]')
    found = jobs.EraseJob(context).validate().validation
    assert found is not None
    assert (found.policy, found.policy_sha256) == ("ours", fixed)
    assert [check.threshold for check in found.checks] == [0.5]
