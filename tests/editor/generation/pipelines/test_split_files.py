"""What a model lacks is taken from the folder with components; what is nowhere is listed before anything is loaded."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from editor.errors import CheckpointError
from editor.generation.pipelines import load_pipeline
from editor.generation.pipelines.plan import plan_pipeline
from tests.editor.checkpoints.layouts import write_safetensors
from tests.editor.generation.pipelines import small_pipelines as small
from tests.editor.generation.pipelines.original_names import Tensors, flux_names, vae_names

pytestmark = pytest.mark.usefixtures("small_flux")


@pytest.fixture(scope="module")
def saved() -> Any:
    torch.manual_seed(0)
    return small.flux()


def write(path: Path, tensors: Tensors) -> Path:
    return write_safetensors(path, {name: tensor.contiguous() for name, tensor in tensors.items()})


@pytest.fixture
def components(saved: Any, tmp_path: Path) -> Path:
    """The files of ComfyUI, without the text encoder that is edited, and the configurations of the small geometry."""
    folder = small.write_configs(tmp_path / "components", saved)
    write(folder / "flux1-dev.safetensors", flux_names(saved.transformer.state_dict(), 1, small.LAYERS))
    write(folder / "ae.safetensors", vae_names(saved.vae.state_dict(), 2, ""))
    write(folder / "text_encoders" / "t5xxl_fp16.safetensors", small.t5_tensors(saved.text_encoder_2))
    return folder


@pytest.fixture
def clip_l(saved: Any, tmp_path: Path) -> Path:
    return write(tmp_path / "clip_l.safetensors", small.clip_tensors(saved.text_encoder))


def test_split_files_are_one_pipeline(saved: Any, clip_l: Path, components: Path) -> None:
    small.assert_same_pipeline(load_pipeline(clip_l, components=components), saved)


def test_model_may_be_the_denoiser(saved: Any, clip_l: Path, components: Path, tmp_path: Path) -> None:
    model = (components / "flux1-dev.safetensors").rename(tmp_path / "flux1-dev.safetensors")
    clip_l.rename(components / clip_l.name)
    small.assert_same_pipeline(load_pipeline(model, components=components), saved)


def test_model_has_priority_over_the_components(saved: Any, clip_l: Path, components: Path) -> None:
    other = {name: tensor + 1 for name, tensor in small.clip_tensors(saved.text_encoder).items()}
    write(components / "clip_l.safetensors", other)
    small.assert_same_pipeline(load_pipeline(clip_l, components=components), saved)


def test_missing_components_are_listed(components: Path, tmp_path: Path) -> None:
    model = (components / "flux1-dev.safetensors").rename(tmp_path / "flux1-dev.safetensors")
    with pytest.raises(CheckpointError) as raised:
        plan_pipeline(model)
    missing = (
        "text_encoder (CLIPTextModel), text_encoder_2 (T5EncoderModel), tokenizer (CLIPTokenizer), "
        "tokenizer_2 (T5TokenizerFast), vae (AutoencoderKL)"
    )
    assert raised.value.message.endswith(f"lacks {missing}.")
    assert raised.value.field == "components"


def test_model_without_denoiser_is_refused(clip_l: Path) -> None:
    with pytest.raises(CheckpointError, match="contains no denoiser") as raised:
        plan_pipeline(clip_l)
    assert "--components" in (raised.value.remedy or "")


def test_components_must_be_a_folder(clip_l: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a folder"):
        plan_pipeline(clip_l, clip_l)


def test_two_files_of_one_kind_are_refused(saved: Any, clip_l: Path, components: Path) -> None:
    write(components / "t5xxl_fp32.safetensors", small.t5_tensors(saved.text_encoder_2))
    with pytest.raises(CheckpointError, match=r"more than one t5: t5xxl_fp32\.safetensors and t5xxl_fp16\.safetensors"):
        plan_pipeline(clip_l, components)


def test_file_that_does_not_fit_its_configuration_is_refused(saved: Any, clip_l: Path, components: Path) -> None:
    tensors = vae_names(saved.vae.state_dict(), 2, "")
    del tensors["decoder.conv_out.bias"]
    write(components / "ae.safetensors", tensors)
    with pytest.raises(CheckpointError, match=r"ae\.safetensors does not fit the configuration of the vae") as raised:
        load_pipeline(clip_l, components=components)
    assert "vae/config.json" in (raised.value.remedy or "")


@pytest.mark.parametrize("scaled", [False, True])
def test_fp8_weights_are_converted(saved: Any, clip_l: Path, components: Path, scaled: bool) -> None:
    stored, expected = {}, {}
    for name, tensor in small.t5_tensors(saved.text_encoder_2).items():
        scale = tensor.abs().amax() / 448 if scaled else torch.ones(())
        is_matrix = tensor.dim() == 2
        stored[name] = (tensor / scale).to(torch.float8_e4m3fn) if is_matrix else tensor
        expected[name] = stored[name].float() * scale if is_matrix else tensor
        if scaled and is_matrix:
            stored[name.removesuffix("weight") + "scale_weight"] = scale
    if scaled:
        stored["scaled_fp8"] = torch.zeros(2).to(torch.float8_e4m3fn)
    save_file(
        {name: tensor.contiguous() for name, tensor in stored.items()},
        components / "text_encoders/t5xxl_fp16.safetensors",
    )
    loaded = load_pipeline(clip_l, components=components).text_encoder_2.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.items())


def test_other_quantised_weights_are_refused(saved: Any, clip_l: Path, components: Path) -> None:
    tensors = small.t5_tensors(saved.text_encoder_2)
    name = next(name for name in tensors if name.endswith("SelfAttention.q.weight"))
    write(components / "text_encoders/t5xxl_fp16.safetensors", tensors | {name: tensors[name].to(torch.uint8)})
    with pytest.raises(CheckpointError, match="is quantised"):
        load_pipeline(clip_l, components=components)


@pytest.mark.skipif(find_spec("gguf") is not None, reason="the package gguf is installed")
def test_gguf_without_its_package_is_refused_before_anything_is_loaded(clip_l: Path, components: Path) -> None:
    (components / "text_encoders/t5xxl_fp16.safetensors").unlink()
    (components / "t5-v1_1-xxl-encoder-Q8_0.gguf").write_bytes(b"GGUF")
    with pytest.raises(CheckpointError, match="package gguf is not installed") as raised:
        plan_pipeline(clip_l, components)
    assert "pip install gguf" in (raised.value.remedy or "")


def test_t5_without_its_tokenizer_is_refused(clip_l: Path, components: Path) -> None:
    for file in (components / "tokenizer_2").iterdir():
        file.unlink()
    with pytest.raises(CheckpointError, match=r"lacks tokenizer_2 \(T5Tokenizer"):
        plan_pipeline(clip_l, components)


def test_sd3_works_without_t5(tmp_path: Path) -> None:
    torch.manual_seed(0)
    saved = small.sd3()
    tensors = {name: tensor for name, tensor in small.single_file(saved).items() if "t5xxl" not in name}
    model = write(tmp_path / "sd3.safetensors", tensors)
    configs = small.write_configs(tmp_path / "configs", saved)
    loaded = load_pipeline(model, components=configs)
    assert loaded.text_encoder_3 is None
    assert loaded.transformer.state_dict().keys() == saved.transformer.state_dict().keys()
