"""The benchmark's models have the claimed geometry, and its peer follows the released procedure."""

import math
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from editor.bench.edit import FOX, PROFILE, PROMPTS, run_usual_way
from editor.bench.synthetic_checkpoints import CONFIG, SD1, SDXL, write_single_file
from editor.checkpoints import OUT_PROJ, TextEncoder, open_checkpoint
from editor.checkpoints.key_mapping import TOKEN_EMBEDDING
from editor.methods.config import MethodConfig
from editor.methods.encoder_edit import edit_encoder
from editor.prompts import PromptBuilder


def test_geometry_matches_stable_diffusion(tmp_path: Path) -> None:
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        module = CLIPTextModel(CLIPTextConfig(**CONFIG))
    theirs = {name.removeprefix("text_model."): tuple(t.shape) for name, t in module.state_dict().items()}
    start = f"{SD1.prefix}text_model."
    assert {name.removeprefix(start): shape for name, shape in SD1.tensors().items()} == theirs
    assert 4 * sum(map(math.prod, theirs.values())) == 492_241_920


def test_unread_tensors_take_no_disk_space(tmp_path: Path) -> None:
    shapes = tuple(replace(shape, layers=2, width=64) for shape in SDXL)
    path = write_single_file(tmp_path / "sdxl.safetensors", shapes, 1_000_000_000)
    status = path.stat()
    assert abs(status.st_size - 1e9) < 1e7
    assert status.st_blocks * 512 < 2e7
    checkpoint = open_checkpoint(path)
    assert checkpoint.family == "sdxl"
    for encoder in checkpoint.encoders:
        assert (encoder.layers, encoder.width) == (2, 64)
        assert encoder.tensor(OUT_PROJ.format(layer=0)).std() > 0.1
        assert encoder.tensor(OUT_PROJ.format(layer=1)).std() == 0, "a hole"
        assert encoder.read_rows(TOKEN_EMBEDDING, torch.tensor([49407])).std() > 0


def test_concept_is_edited_with_eight_prompts(builder: PromptBuilder) -> None:
    assert len(PromptBuilder(builder.tokenizer, PROFILE).edit_pairs(FOX)) == PROMPTS


def test_peer_matches_the_released_procedure(
    source: TextEncoder, builder: PromptBuilder, model_dir: Path, tmp_path: Path
) -> None:
    run_usual_way(model_dir, builder.tokenizer, tmp_path)
    name = OUT_PROJ.format(layer=0)
    theirs = load_file(tmp_path / "text_encoder" / "model.safetensors")[source.stored_name(name)]
    (released,) = edit_encoder(source, builder, [FOX], MethodConfig("diff_quickfix"))
    moved = (released.update.edited - released.update.base).norm()
    assert (theirs - released.update.edited).norm() < 0.02 * moved, "float32 against float64"
