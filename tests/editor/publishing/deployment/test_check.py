"""The deployment check on the embedded model: edited or not, in other precisions, with a LoRA, with other removals."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

from api_schemas.cli.main import NOT_PASSED, WRONG_INPUT, run
from api_schemas.report import AuditReport, RemovalRecord
from editor.checkpoints import open_checkpoint
from editor.checkpoints.tensor_update import TensorUpdate
from editor.cli.check_deployment import check_deployment as command
from editor.emoji import WEIGHTS
from editor.emoji.vocabulary import OBJECT_NAMES
from editor.errors import CheckpointError, PublishingError
from editor.generation.pipelines import load_pipeline
from editor.methods.encoder_edit import edit_encoder
from editor.prompts import Concept, Destination, ResolvedRemoval, open_prompt_builder
from editor.publishing.apply import apply_delta
from editor.publishing.delta import tensor_record, write_delta
from editor.publishing.deployment.canaries import make_canaries
from editor.publishing.deployment.check import check_deployment
from editor.publishing.deployment.update_scale import read_updates
from editor.publishing.lora import write_loras
from editor.publishing.provenance import model_digests

FOX = ResolvedRemoval(Concept("fox"), Destination("dog face", "replacement"))
PIZZA = ResolvedRemoval(Concept("pizza"), Destination("hot dog", "replacement"))
FILE = Path("text_encoder/model.safetensors")


def solve_updates(*removals: ResolvedRemoval) -> list[TensorUpdate]:
    return [
        done.update
        for done in edit_encoder(open_checkpoint(WEIGHTS).encoders[0], open_prompt_builder(WEIGHTS), list(removals))
    ]


@pytest.fixture(scope="module")
def updates() -> list[TensorUpdate]:
    return solve_updates(FOX)


@pytest.fixture(scope="module")
def audit(report: AuditReport, updates: list[TensorUpdate]) -> AuditReport:
    """The report of the removal of the fox."""
    prompts = [pair.concept.text for pair in open_prompt_builder(WEIGHTS).edit_pairs(FOX)]
    fox = RemovalRecord(**(dict(report.removals[0]) | {"concept": "fox", "edit_prompts": prompts}))
    found = {
        "model": report.model.model_copy(update={"files": model_digests(open_checkpoint(WEIGHTS))}),
        "removals": [fox],
        "tensors": [tensor_record(update) for update in updates],
        "canaries": make_canaries(open_checkpoint(WEIGHTS), [fox], updates),
    }
    return report.model_copy(update=found)


Deploy = Callable[..., Path]


@pytest.fixture(scope="module")
def deploy(tmp_path_factory: pytest.TempPathFactory) -> Deploy:
    def made(updates: list[TensorUpdate], dtype: torch.dtype = torch.float32) -> Path:
        """Write the deployed text encoder, with its tokenizer."""
        folder = tmp_path_factory.mktemp("deployed")
        for name in ("text_encoder", "tokenizer"):
            shutil.copytree(WEIGHTS / name, folder / name)
        shutil.copy(WEIGHTS / "model_index.json", folder)
        if updates:
            write_delta(updates, WEIGHTS, folder / "delta")
            apply_delta(WEIGHTS, folder / "delta", folder)
        if dtype != torch.float32:
            cast(folder / FILE, dtype)
        return folder

    return made


def cast(file: Path, dtype: torch.dtype) -> None:
    from safetensors.torch import load_file, save_file

    save_file({name: t.to(dtype) if t.is_floating_point() else t for name, t in load_file(file).items()}, file)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_edited_model_is_detected_in_every_precision(
    audit: AuditReport, updates: list[TensorUpdate], deploy: Deploy, dtype: torch.dtype
) -> None:
    (found,) = check_deployment(deploy(updates, dtype), audit).components
    assert found.carried == "carries"
    assert [tensor.identity for tensor in found.tensors] == ["edited"]
    assert found.canaries == 4
    assert found.error is not None
    assert found.error < (0.002 if dtype == torch.float32 else 0.04)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_base_model_is_detected_in_every_precision(audit: AuditReport, deploy: Deploy, dtype: torch.dtype) -> None:
    found = check_deployment(deploy([], dtype), audit)
    assert found.carried == "base"
    assert found.components[0].progress == pytest.approx(0, abs=0.03)


def test_another_removal_is_reported_as_other(audit: AuditReport, deploy: Deploy) -> None:
    found = check_deployment(deploy(solve_updates(PIZZA)), audit)
    assert found.carried == "other"
    assert [tensor.identity for tensor in found.components[0].tensors] == ["other"]


@pytest.mark.parametrize("count", [1, 20])
def test_removal_is_detected_among_other_removals(audit: AuditReport, deploy: Deploy, count: int) -> None:
    names = [name for name in OBJECT_NAMES if name not in ("fox", "dog face", "hot dog", "pizza")][: count - 1]
    others = [ResolvedRemoval(Concept(name), Destination("hot dog", "replacement")) for name in names]
    found = check_deployment(deploy(solve_updates(FOX, PIZZA, *others)), audit)
    assert found.carried == "carries"
    assert [tensor.identity for tensor in found.components[0].tensors] == ["other"], (
        "detected by the canaries, not by the digest"
    )


@pytest.fixture
def pipeline() -> Any:
    return load_pipeline(WEIGHTS)


@pytest.fixture
def lora(updates: list[TensorUpdate], tmp_path: Path) -> Path:
    write_loras(updates, "stable-diffusion-1", tmp_path)
    return tmp_path


def test_lora_is_detected_in_a_pipeline_loaded_and_fused(audit: AuditReport, pipeline: Any, lora: Path) -> None:
    assert check_deployment(pipeline, audit).carried == "base"
    pipeline.load_lora_weights(lora, weight_name="lora.safetensors")
    assert check_deployment(pipeline, audit).carried == "carries"
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    (found,) = check_deployment(pipeline, audit).components
    assert found.carried == "carries"
    assert [tensor.identity for tensor in found.tensors] == ["other"], "fusing rounds differently"


def test_lora_at_half_scale_is_detected_as_partial(audit: AuditReport, pipeline: Any, lora: Path) -> None:
    pipeline.load_lora_weights(lora, weight_name="lora.safetensors")
    pipeline.fuse_lora(lora_scale=0.5)
    found = check_deployment(pipeline, audit)
    assert found.carried in ("partly", "other"), "without the update, the canaries alone decide"
    assert found.components[0].progress is not None
    assert 0.1 < found.components[0].progress < 0.9


@pytest.mark.parametrize("scale", [0.25, 0.5, 1.5])
@pytest.mark.parametrize("way", ["fused", "loaded", "stored"])
def test_lora_at_another_scale_is_reported_with_its_scale(
    audit: AuditReport,
    updates: list[TensorUpdate],
    pipeline: Any,
    lora: Path,
    deploy: Deploy,
    tmp_path: Path,
    scale: float,
    way: str,
) -> None:
    write_delta(updates, WEIGHTS, lora / "delta.safetensors")
    if way == "stored":
        partly = [replace(one, up=one.up * scale) for one in updates]
        served: Any = deploy(partly)
    else:
        pipeline.load_lora_weights(lora, weight_name="lora.safetensors", adapter_name="edit")
        pipeline.set_adapters(["edit"], [scale])
        if way == "fused":
            pipeline.fuse_lora()
            pipeline.unload_lora_weights()
        served = pipeline
    for expected in (read_updates(lora), read_updates(lora, WEIGHTS)):
        found = check_deployment(served, audit, expected)
        (one,) = found.components
        assert found.carried == "partly"
        assert one.scale == pytest.approx(scale, abs=0.01)
        assert one.residual is not None
        assert one.residual < 0.01
        assert f"at scale {scale:.2f}" in one.detail


def test_another_edit_is_reported_with_a_large_residual(
    audit: AuditReport, updates: list[TensorUpdate], deploy: Deploy, lora: Path
) -> None:
    write_delta(updates, WEIGHTS, lora / "delta.safetensors")
    (found,) = check_deployment(deploy(solve_updates(PIZZA)), audit, read_updates(lora)).components
    assert found.carried == "other"
    assert found.residual is not None
    assert found.residual > 0.5
    assert "another edit" in found.detail
    (base,) = check_deployment(deploy([]), audit, read_updates(lora)).components
    assert (base.carried, base.scale) == ("base", 0.0)
    (whole,) = check_deployment(deploy(updates), audit, read_updates(lora)).components
    assert (whole.carried, whole.scale) == ("carries", pytest.approx(1, abs=0.01))


def test_one_edited_encoder_of_two_is_detected_as_partial(
    audit: AuditReport, updates: list[TensorUpdate], pipeline: Any
) -> None:
    """An SDXL model whose second encoder was not replaced."""
    second = [replace(update, component="text_encoder_2") for update in updates]
    both = audit.model_copy(
        update={
            "tensors": [*audit.tensors, *(tensor_record(update) for update in second)],
            "canaries": [
                *audit.canaries,
                *(c.model_copy(update={"component": "text_encoder_2"}) for c in audit.canaries),
            ],
        }
    )

    class Two:
        tokenizer = tokenizer_2 = pipeline.tokenizer
        text_encoder, text_encoder_2 = load_pipeline(WEIGHTS).text_encoder, pipeline.text_encoder

    weights = dict(Two.text_encoder.named_parameters())
    name = next(name for name in weights if updates[0].name.endswith(name) or name == updates[0].name)
    weights[name].data.copy_(updates[0].edited)
    found = check_deployment(Two, both)
    assert found.carried == "partly"
    assert [one.carried for one in found.components] == ["carries", "base"]


def test_model_of_another_width_is_rejected(audit: AuditReport, model_dir: Path) -> None:
    with pytest.raises(PublishingError, match="has width"):
        check_deployment(model_dir, audit)


def test_damaged_encoder_with_the_edited_tensor_is_reported_as_other(
    audit: AuditReport, updates: list[TensorUpdate], pipeline: Any
) -> None:
    weights = dict(pipeline.text_encoder.named_parameters())
    name = next(name for name in weights if updates[0].name.endswith(name))
    weights[name].data.copy_(updates[0].edited)
    mlp = next(weight for key, weight in weights.items() if "mlp.fc2.weight" in key)
    mlp.data += torch.randn(mlp.shape, generator=torch.Generator().manual_seed(0)) * mlp.std()
    (found,) = check_deployment(pipeline, audit).components
    assert [tensor.identity for tensor in found.tensors] == ["edited"]
    assert found.carried == "other"


@pytest.mark.parametrize(
    "name", ["unet/diffusion_pytorch_model.safetensors", "tokenizer/tokenizer.json", "scheduler/scheduler_config.json"]
)
def test_altered_file_of_an_edited_pipeline_is_reported(
    audit: AuditReport, updates: list[TensorUpdate], deploy: Deploy, name: str
) -> None:
    folder = deploy(updates)
    (folder / name).parent.mkdir(exist_ok=True)
    shutil.copy(WEIGHTS / name, folder / name)
    (folder / "notes.json").write_text("{}")
    found = check_deployment(folder, audit)
    assert found.carried == "carries"
    assert {file.name for file in found.files if file.identity == "unknown"} == {"notes.json", FILE.as_posix()}
    content = bytearray((folder / name).read_bytes())
    content[-3:-1] = b"\n\n" if content[-3:-1] != b"\n\n" else b"  "
    (folder / name).write_bytes(content)
    altered = check_deployment(folder, audit)
    assert altered.carried == "altered"
    assert [file.name for file in altered.files if file.identity == "differs"] == [name]


def test_digest_decides_without_canaries(audit: AuditReport, updates: list[TensorUpdate], deploy: Deploy) -> None:
    withheld = audit.model_copy(update={"canaries": [c.model_copy(update={"prompt": None}) for c in audit.canaries]})
    assert check_deployment(deploy(updates), withheld).carried == "carries"
    assert check_deployment(deploy([]), withheld).carried == "base"


def test_encoder_without_a_tokenizer_is_identified_by_its_digest(
    audit: AuditReport, updates: list[TensorUpdate], deploy: Deploy
) -> None:
    """A published encoder comes without a tokenizer, which the canaries need."""
    alone, mixed = deploy(updates), deploy(solve_updates(FOX, PIZZA))
    for folder in (alone, mixed):
        shutil.rmtree(folder / "tokenizer")
    (found,) = check_deployment(alone, audit).components
    assert (found.carried, found.canaries) == ("carries", 0)
    with pytest.raises(CheckpointError, match="tokenizer"):
        check_deployment(mixed, audit)


def expunge(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    app = typer.Typer()
    app.command()(command)
    monkeypatch.setattr(sys, "argv", ["expunge", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        run(app)
    return int(caught.value.code or 0)


def test_command_prints_text_and_json(
    audit: AuditReport,
    updates: list[TensorUpdate],
    deploy: Deploy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "report.json").write_text(audit.model_dump_json())
    assert expunge(monkeypatch, deploy(updates), "--report", tmp_path) == 0
    assert "4 canaries moved 100% of the expected distance" in capsys.readouterr().out
    assert expunge(monkeypatch, deploy([]), "--report", tmp_path / "report.json", "--json") == NOT_PASSED
    assert json.loads(capsys.readouterr().out)["carried"] == "base"
    assert expunge(monkeypatch, deploy([]), "--report", WEIGHTS) == WRONG_INPUT
