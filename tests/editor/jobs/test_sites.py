"""A removal at every site, from the request to a deployment that carries it."""

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file

from api_schemas.edits import EditRequest
from api_schemas.report import AuditReport
from editor.checkpoints import open_checkpoint
from editor.jobs.forecast import forecast
from editor.jobs.local_erasure import erase
from editor.publishing.apply import apply_delta
from editor.publishing.deployment.check import check_deployment
from editor.publishing.deployment.update_scale import read_updates
from editor.publishing.lora import LORA_PEFT

UNET = "unet/diffusion_pytorch_model.safetensors"
REQUEST = EditRequest(
    removals=[{"concept": "fox", "replacement": "dog face"}], options={"sites": "all"}, validation={"enabled": False}
)


@pytest.fixture(scope="module")
def published(pipeline_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, AuditReport]:
    out = tmp_path_factory.mktemp("published")
    return out, erase(REQUEST, pipeline_dir, out, cache=tmp_path_factory.mktemp("cache")).report


def test_full_weights_and_applied_delta_are_equal(
    published: tuple[Path, AuditReport], pipeline_dir: Path, tmp_path: Path
) -> None:
    out, report = published
    apply_delta(pipeline_dir, out / "delta.safetensors", tmp_path)
    base, full = load_file(pipeline_dir / UNET), load_file(out / UNET)
    assert (tmp_path / UNET).read_bytes() == (out / UNET).read_bytes()
    changed = {name for name in base if not torch.equal(base[name], full[name])}
    assert (
        changed
        == {record.name for record in report.tensors if record.component == "unet"}
        == {*report.solves[1].shared_by}
    )
    assert (len(report.solves), len(changed)) == (2, 14)
    assert not any("put the original text encoder back" in limit for limit in report.limits)


def test_lora_acts_as_the_full_weights(published: tuple[Path, AuditReport], pipeline_dir: Path) -> None:
    out, _ = published
    adapted, full = (UNet2DConditionModel.from_pretrained(folder / "unet").eval() for folder in (pipeline_dir, out))
    adapted.load_lora_adapter(load_file(out / LORA_PEFT), prefix="unet")
    generator = torch.Generator().manual_seed(0)
    sample, states = torch.randn(1, 4, 8, 8, generator=generator), torch.randn(1, 24, 64, generator=generator)
    with torch.no_grad():
        found, expected = (unet(sample, 10, states).sample for unet in (adapted, full))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def deployed(pipeline_dir: Path, out: Path, folder: Path) -> Path:
    copytree(pipeline_dir, folder)
    copytree(out / "text_encoder", folder / "text_encoder", dirs_exist_ok=True)
    copytree(out / "unet", folder / "unet", dirs_exist_ok=True)
    return folder


def halve(folder: Path, base: Path) -> None:
    """Move the denoiser half of the way back, as a LoRA at half strength does."""
    edited, original = load_file(folder / UNET), load_file(base / UNET)
    save_file({name: (edited[name] + original[name]) / 2 for name in edited}, folder / UNET)


@pytest.mark.parametrize(
    ("change", "carried"),
    [
        (lambda folder, base: None, "carries"),
        (lambda folder, base: (folder / UNET).write_bytes((base / UNET).read_bytes()), "base"),
        (halve, "partly"),
    ],
)
def test_deployment_of_the_denoiser_is_checked(
    change: Callable[[Path, Path], object],
    carried: str,
    published: tuple[Path, AuditReport],
    pipeline_dir: Path,
    tmp_path: Path,
) -> None:
    out, report = published
    folder = deployed(pipeline_dir, out, tmp_path / "served")
    change(folder, pipeline_dir)
    found = check_deployment(folder, report, read_updates(out, pipeline_dir))
    assert {one.component: one.carried for one in found.components} == {"text_encoder": "carries", "unet": carried}


def test_forecast_covers_every_site(pipeline_dir: Path) -> None:
    found = forecast(open_checkpoint(pipeline_dir), REQUEST)
    assert [(one.component, one.site) for one in found.encoders] == [
        ("text_encoder", "text_encoder"),
        ("unet", "cross_attention"),
    ]
    assert found.encoders[1].prompts[0].change > 0
    assert json.loads(found.model_dump_json())
