"""The shipped configurations at true geometry: each family is recognised, and its file fits its configuration."""

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES

from editor.bench.synthetic_checkpoints import write_file
from editor.checkpoints.tensor_reader import TensorFile
from editor.errors import CheckpointError
from editor.generation.pipelines.classes import text_to_image_class
from editor.generation.pipelines.families import (
    FAMILIES,
    V_PREDICTION_BIAS,
    family_folder,
    read_config,
    scheduler_changes,
)
from editor.generation.pipelines.parts import Part, find_parts
from editor.io.digests import tensor_bytes
from tests.editor.checkpoints.layouts import write_safetensors
from tests.editor.generation.pipelines.original_names import Tensors, flux_names, sd3_names, unet_names, vae_names

PREFIX = "model.diffusion_model."


def to_original(name: str, tensors: Tensors, config: dict[str, Any]) -> Tensors:
    if name == "unet":
        return unet_names(tensors, config["layers_per_block"])
    if config["_class_name"] == "SD3Transformer2DModel":
        return sd3_names(tensors, config["num_layers"])
    return flux_names(tensors, config["num_layers"], config["num_single_layers"])


def build_on_meta(config: dict[str, Any]) -> Any:
    with torch.device("meta"):
        return getattr(diffusers, config["_class_name"]).from_config(config)


def write_header(path: Path, tensors: Tensors) -> Path:
    """Write a file of the true size whose tensors are holes."""
    write_file(path, {name: ("F16", tuple(tensor.shape)) for name, tensor in tensors.items()}, set())
    return path


def find_denoiser(path: Path) -> Part:
    return next(part for part in find_parts(TensorFile(path)) if part.kind == "denoiser")


def spread_bias(path: Path) -> None:
    """Give the norm that shows the prediction type of Stable Diffusion 2 the values of a v-prediction model."""
    span = TensorFile(path).span(PREFIX + V_PREDICTION_BIAS)
    values = torch.linspace(-1, 1, span.shape[0], dtype=torch.float16)
    with path.open("r+b") as file:
        file.seek(span.start)
        file.write(tensor_bytes(values))


@pytest.mark.parametrize("family", sorted(path.name for path in FAMILIES.iterdir()))
def test_family_is_recognised_and_converted_to_its_configuration(family: str, tmp_path: Path) -> None:
    folder = FAMILIES / family
    name = "unet" if (folder / "unet").is_dir() else "transformer"
    config = read_config(folder, name)
    expected = build_on_meta(config).state_dict()
    original = to_original(name, expected, config)
    path = write_header(tmp_path / "model.safetensors", original)
    if family == "stable-diffusion-2":
        spread_bias(path)
    assert family_folder(find_denoiser(path)) == folder
    convert = SINGLE_FILE_LOADABLE_CLASSES[config["_class_name"]]["checkpoint_mapping_fn"]
    assert shapes(convert(checkpoint=dict(original), config=config)) == shapes(expected)
    assert shapes(vae_roundtrip(folder)) == shapes(build_on_meta(read_config(folder, "vae")).state_dict())
    text_to_image_class(diffusers.DiffusionPipeline.load_config(folder)["_class_name"], family)


def vae_roundtrip(folder: Path) -> Tensors:
    config = read_config(folder, "vae")
    original = vae_names(build_on_meta(config).state_dict(), len(config["up_block_types"]))
    converted: Tensors = SINGLE_FILE_LOADABLE_CLASSES["AutoencoderKL"]["checkpoint_mapping_fn"](original, config=config)
    return converted


def shapes(tensors: Tensors) -> dict[str, torch.Size]:
    return {name: tensor.squeeze().shape for name, tensor in tensors.items()}


UNET: Tensors = {
    f"{PREFIX}input_blocks.0.0.weight": torch.zeros(4, 4, 1, 1),
    f"{PREFIX}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": torch.zeros(4, 768),
}
V_PREDICTION = {"prediction_type": "v_prediction"}
ZERO_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}


@pytest.mark.parametrize(
    ("markers", "metadata", "changes"),
    [
        ({}, {}, {}),
        ({"v_pred": torch.zeros(1)}, {}, V_PREDICTION),
        ({"v_pred": torch.zeros(1), "ztsnr": torch.zeros(1)}, {}, V_PREDICTION | ZERO_SNR),
        ({}, {"modelspec.prediction_type": "v"}, V_PREDICTION),
        ({}, {"modelspec.prediction_type": "epsilon"}, {}),
    ],
)
def test_prediction_type_is_read_from_the_file(
    markers: Tensors, metadata: dict[str, str], changes: dict[str, object], tmp_path: Path
) -> None:
    path = write_safetensors(tmp_path / "model.safetensors", UNET | markers, metadata)
    assert scheduler_changes(find_denoiser(path)) == changes


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (UNET | {f"{PREFIX}input_blocks.0.0.weight": torch.zeros(4, 9, 1, 1)}, "inpainting or control model"),
        (
            {"double_blocks.0.img_attn.norm.key_norm.scale": torch.zeros(4), "img_in.weight": torch.zeros(4, 384)},
            "control",
        ),
        ({f"{PREFIX}input_blocks.0.0.weight": torch.zeros(4, 4, 1, 1)}, "unsupported family"),
    ],
)
def test_other_models_are_refused(tensors: Tensors, message: str, tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "model.safetensors", tensors)
    with pytest.raises(CheckpointError, match=message) as raised:
        family_folder(find_denoiser(path))
    assert raised.value.remedy
