"""Names of a denoiser's tensors in original files, compared with diffusers' own converters."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from safetensors.torch import save_file

from editor.checkpoints.denoiser import canonical_name, open_denoiser
from editor.checkpoints.key_mapping import Family
from editor.errors import CheckpointError

SD_CONFIG: dict[str, Any] = {"layers_per_block": 2, "class_embed_type": None, "addition_embed_type": None}
ATTENTIONS = {
    "stable-diffusion-1": ([1, 2, 4, 5, 7, 8], [3, 4, 5, 6, 7, 8, 9, 10, 11], 1),
    "sdxl": ([4, 5, 7, 8], [0, 1, 2, 3, 4, 5], 2),
}
"""Numbers of the input and output blocks with attention, and transformer blocks in each."""


def original_names(family: str) -> list[str]:
    inputs, outputs, depth = ATTENTIONS[family]
    blocks = [f"input_blocks.{n}.1" for n in inputs] + ["middle_block.1"] + [f"output_blocks.{n}.1" for n in outputs]
    found = [
        f"{block}.transformer_blocks.{d}.attn2.to_{side}.weight"
        for block in blocks
        for d in range(depth)
        for side in "kv"
    ]
    return [*found, "label_emb.0.0.weight"] if family == "sdxl" else found


def converted_names(family: str, names: list[str]) -> dict[str, str]:
    """Return original name -> the name that diffusers' converter gives the same tensor."""
    numbered = {f"model.diffusion_model.{name}": torch.tensor(float(i)) for i, name in enumerate(names)}
    fillers = [name for name in REQUIRED if f"model.diffusion_model.{name}" not in numbered]
    blocks = 9 if family == "sdxl" else 12
    fillers += [f"{side}_blocks.{n}.0.in_layers.0.weight" for side in ("input", "output") for n in range(blocks)]
    filled = numbered | {f"model.diffusion_model.{name}": torch.tensor(-1.0) for name in fillers}
    more = {"addition_embed_type": "text_time"} if family == "sdxl" else {}
    given = convert_ldm_unet_checkpoint(dict(filled), SD_CONFIG | more)
    return {names[int(tensor)]: name for name, tensor in given.items() if tensor >= 0}


REQUIRED = (
    "time_embed.0.weight", "time_embed.0.bias", "time_embed.2.weight", "time_embed.2.bias",
    "input_blocks.0.0.weight", "input_blocks.0.0.bias", "out.0.weight", "out.0.bias", "out.2.weight", "out.2.bias",
    "label_emb.0.0.weight", "label_emb.0.0.bias", "label_emb.0.2.weight", "label_emb.0.2.bias",
    "middle_block.0.in_layers.0.weight", "middle_block.2.in_layers.0.weight",
)  # fmt: skip


@pytest.mark.parametrize("family", ["stable-diffusion-1", "sdxl"])
def test_names_are_those_that_diffusers_converts_to(family: Family) -> None:
    names = original_names(family)
    expected = converted_names(family, names)
    assert len(expected) == len(names)
    assert {name: canonical_name(f"model.diffusion_model.{name}", family) for name in names} == expected


@pytest.mark.parametrize(
    "name",
    ["input_blocks.1.1.transformer_blocks.0.attn1.to_k.weight", "time_embed.0.weight", "first_stage_model.x.weight"],
)
def test_tensors_that_read_no_text_are_left_out(name: str) -> None:
    assert canonical_name(f"model.diffusion_model.{name}", "stable-diffusion-1") is None


def test_single_file_and_folder_have_the_same_tensors(pipeline_dir: Path, tmp_path: Path) -> None:
    folder = open_denoiser(pipeline_dir, "stable-diffusion-1")
    assert folder is not None
    unet = UNet2DConditionModel.from_pretrained(pipeline_dir / "unet")
    assert set(folder.locations) == {
        name for name in unet.state_dict() if ".attn2.to_k." in name or ".attn2.to_v." in name
    }
    original = "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight"
    name = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    save_file({original: folder.tensor(name)}, tmp_path / "model.safetensors")
    single = open_denoiser(tmp_path / "model.safetensors", "stable-diffusion-1")
    assert single is not None
    assert single.stored_name(name) == original
    assert torch.equal(single.tensor(name), folder.tensor(name))


def test_absent_tensors_are_refused(pipeline_dir: Path, model_dir: Path) -> None:
    assert open_denoiser(model_dir, "stable-diffusion-1") is None
    folder = open_denoiser(pipeline_dir, "stable-diffusion-1")
    assert folder is not None
    with pytest.raises(CheckpointError, match="no tensor context_embedder"):
        folder.tensor("context_embedder.weight")
