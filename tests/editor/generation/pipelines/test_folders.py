"""Diffusers folders: classes, variants, shards, and what is refused before anything is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.utils import logging as diffusers_logging

from editor.errors import CheckpointError
from editor.generation.pipelines import load_pipeline
from editor.generation.pipelines.plan import plan_pipeline
from tests.editor.generation.pipelines import small_pipelines as small
from tests.fakes.pipelines import FAMILIES, NEWER_FAMILIES, save_model, shared_pipeline


@pytest.fixture(scope="module")
def saved() -> Any:
    torch.manual_seed(0)
    return small.stable_diffusion_1()


@pytest.fixture
def folder(saved: Any, tmp_path: Path) -> Path:
    saved.save_pretrained(tmp_path)
    return tmp_path


def shift_weights(saved: Any, folder: Path, name: str, variant: str | None) -> None:
    """Save a component again, with all its weights raised by one."""
    model = getattr(saved, name)
    shifted = type(model)(model.config) if name == "text_encoder" else type(model).from_config(model.config)
    shifted.load_state_dict({key: value + 1 for key, value in model.state_dict().items()})
    shifted.save_pretrained(folder / name, variant=variant)


def test_loading_prints_nothing(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_pipeline(folder)
    assert capfd.readouterr().err == ""
    assert diffusers_logging.is_progress_bar_enabled()


def first_tensor(model: Any) -> torch.Tensor:
    tensors: dict[str, torch.Tensor] = model.state_dict()
    return next(iter(tensors.values()))


def test_dtype_is_the_requested_one(folder: Path) -> None:
    loaded = load_pipeline(folder, dtype=torch.bfloat16)
    assert {first_tensor(model).dtype for model in (loaded.unet, loaded.vae, loaded.text_encoder)} == {torch.bfloat16}


def test_plain_weights_win_over_a_variant(saved: Any, folder: Path) -> None:
    shift_weights(saved, folder, "text_encoder", "fp16")
    shift_weights(saved, folder, "unet", "fp16")
    loaded = load_pipeline(folder)
    assert torch.equal(first_tensor(loaded.text_encoder), first_tensor(saved.text_encoder))
    assert torch.equal(first_tensor(loaded.unet), first_tensor(saved.unet))


def test_variant_is_used_by_the_components_that_have_nothing_else(saved: Any, folder: Path) -> None:
    for name in ("unet", "text_encoder"):
        shift_weights(saved, folder, name, "fp16")
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()
    (folder / "text_encoder/model.safetensors").unlink()
    loaded = load_pipeline(folder)
    assert torch.equal(first_tensor(loaded.unet), first_tensor(saved.unet) + 1)
    assert torch.equal(first_tensor(loaded.text_encoder), first_tensor(saved.text_encoder) + 1)
    assert torch.equal(first_tensor(loaded.vae), first_tensor(saved.vae))


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_shards_are_read(saved: Any, folder: Path, variant: str | None) -> None:
    for name, stem in (("unet", "diffusion_pytorch_model"), ("text_encoder", "model")):
        (folder / name / f"{stem}.safetensors").unlink()
        getattr(saved, name).save_pretrained(folder / name, variant=variant, max_shard_size="60KB")
        assert len(list((folder / name).glob("*.safetensors"))) > 1
    loaded = load_pipeline(folder)
    for name in ("unet", "text_encoder"):
        expected = getattr(saved, name).state_dict()
        assert all(torch.equal(value, expected[key]) for key, value in getattr(loaded, name).state_dict().items())


def test_missing_component_is_taken_from_the_components_folder(saved: Any, folder: Path, tmp_path: Path) -> None:
    components = tmp_path / "components"
    components.mkdir()
    (folder / "vae").rename(components / "vae")
    with pytest.raises(CheckpointError, match=r"lacks vae \(AutoencoderKL\)") as raised:
        plan_pipeline(folder)
    assert raised.value.field == "components"
    loaded = load_pipeline(folder, components=components)
    assert torch.equal(first_tensor(loaded.vae), first_tensor(saved.vae))


def edit_index(folder: Path, **changes: Any) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | changes))


@pytest.mark.parametrize(
    "name",
    [
        "StableDiffusionImg2ImgPipeline",
        "StableDiffusionInpaintPipeline",
        "StableDiffusionControlNetPipeline",
        "WanPipeline",
        "KandinskyCombinedPipeline",
        "AutoencoderKL",
        "MyPipeline",
        None,
        ["pipeline", "MyPipeline"],
    ],
)
def test_other_than_a_text_to_image_pipeline_is_refused(folder: Path, name: object) -> None:
    edit_index(folder, _class_name=name)
    with pytest.raises(CheckpointError, match="not a text-to-image pipeline of diffusers") as raised:
        plan_pipeline(folder)
    assert raised.value.field == "model"
    assert raised.value.remedy


def test_components_that_the_index_omits_are_listed(folder: Path) -> None:
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    with pytest.raises(CheckpointError, match="lacks scheduler, unet, vae"):
        plan_pipeline(folder)


@pytest.mark.parametrize("family", [*FAMILIES, *NEWER_FAMILIES])
def test_every_family_is_loaded_as_it_was_saved(family: str, tmp_path: Path) -> None:
    small.assert_same_pipeline(load_pipeline(save_model(family, tmp_path)), shared_pipeline(family))


def test_code_of_other_libraries_is_never_imported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "intruder.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(str(folder))
    edit_index(folder, unet=["intruder", "UNet"])
    with pytest.raises(CheckpointError, match=r"intruder\.UNet, which is not a class of diffusers"):
        plan_pipeline(folder)


def test_pickles_are_refused(folder: Path) -> None:
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(CheckpointError, match=r"diffusion_pytorch_model\.bin"):
        plan_pipeline(folder)


def test_links_out_of_the_folder_are_refused(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    weights, outside = folder / "vae/diffusion_pytorch_model.safetensors", tmp_path_factory.mktemp("outside") / "vae"
    weights.rename(outside)
    weights.symlink_to(outside)
    with pytest.raises(CheckpointError, match="link out of the model's folder"):
        plan_pipeline(folder)


def test_missing_tensors_are_not_filled_with_noise(saved: Any, folder: Path) -> None:
    from safetensors.torch import save_file

    for name, stem in (("text_encoder", "model"), ("vae", "diffusion_pytorch_model")):
        tensors = getattr(saved, name).state_dict()
        file, dropped = folder / name / f"{stem}.safetensors", list(tensors)[-1]
        whole = file.read_bytes()
        save_file({key: value.contiguous() for key, value in tensors.items() if key != dropped}, file)
        with pytest.raises(CheckpointError, match=f"lack 1 tensors .* {dropped}"):
            load_pipeline(folder)
        file.write_bytes(whole)
