"""Which files a model may consist of: links, shards, variants; and which weights can't be edited."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from editor.checkpoints import OUT_PROJ, TextEncoder, open_checkpoint, weight_files
from editor.checkpoints.key_mapping import TOKEN_EMBEDDING
from editor.checkpoints.tokenizers import open_tokenizer
from editor.errors import CheckpointError

OUT = OUT_PROJ.format(layer=0)
WEIGHTS = Path("text_encoder") / "model.safetensors"


@pytest.fixture
def model(model_dir: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, for tests that damage it."""
    return Path(shutil.copytree(model_dir, tmp_path / "outer" / "model"))


def assert_rejected(path: Path, match: str) -> None:
    with pytest.raises(CheckpointError, match=match) as caught:
        open_checkpoint(path)
    assert caught.value.field == "model"
    assert caught.value.remedy


@pytest.mark.parametrize("name", [WEIGHTS, Path("text_encoder") / "config.json"])
def test_link_out_of_the_folder_is_rejected(model: Path, name: Path) -> None:
    moved = (model / name).rename(model.parent / name.name)
    (model / name).symlink_to(moved)
    assert_rejected(model, "link out of the model's folder")


def test_folder_link_out_of_the_model_is_rejected(model: Path) -> None:
    moved = (model / "text_encoder").rename(model.parent / "elsewhere")
    (model / "text_encoder").symlink_to(moved)
    assert_rejected(model, "link out of the model's folder")


def test_circular_links_are_rejected(model: Path) -> None:
    (model / WEIGHTS).unlink()
    (model / WEIGHTS).symlink_to("model.safetensors")
    assert_rejected(model, "does not exist")
    (model / "text_encoder" / "config.json").unlink()
    (model / "text_encoder" / "config.json").symlink_to("config.json")
    assert_rejected(model, "link out of")


def test_links_within_and_to_the_folder_are_allowed(model: Path) -> None:
    (model / WEIGHTS).rename(model / "shared.safetensors")
    (model / WEIGHTS).symlink_to("../shared.safetensors")
    alias = model.parent / "alias"
    alias.symlink_to(model)
    assert open_checkpoint(alias).encoders[0].tensor(OUT).isfinite().all()


def build_hub_cache(model: Path, blobs: Path) -> Path:
    """Move the model into a hub cache with its files in ``blobs``, and return the snapshot."""
    snapshot = model.parent / "models--someone--model" / "snapshots" / "0123abc"
    blobs.mkdir(parents=True)
    for number, path in enumerate(path for path in sorted(model.rglob("*")) if path.is_file()):
        link = snapshot / path.relative_to(model)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.rename(blobs / f"blob{number}"))
    return snapshot


def test_hub_cache_snapshot_may_link_to_its_blobs(model: Path) -> None:
    snapshot = build_hub_cache(model, model.parent / "models--someone--model" / "blobs")
    assert open_tokenizer(open_checkpoint(snapshot).encoders[0])("fox")["input_ids"]


def test_hub_cache_snapshot_may_not_link_to_blobs_of_another_model(model: Path) -> None:
    assert_rejected(build_hub_cache(model, model.parent / "models--another--model" / "blobs"), "link out of")


def split_into_shards(model: Path, weight_map: dict[str, str] | None = None) -> Path:
    """Split the weights into two files with an index."""
    folder, tensors = model / "text_encoder", load_file(model / WEIGHTS)
    halves: dict[str, dict[str, Any]] = {"model-00001-of-00002.safetensors": {}, "model-00002-of-00002.safetensors": {}}
    for number, (name, tensor) in enumerate(tensors.items()):
        halves[list(halves)[number % 2]][name] = tensor
    for name, half in halves.items():
        save_file(half, folder / name)
    found = {key: name for name, half in halves.items() for key in half}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map or found}))
    (model / WEIGHTS).unlink()
    return model


def test_shards_open_as_one_encoder(model: Path, source: TextEncoder) -> None:
    encoder = open_checkpoint(split_into_shards(model)).encoders[0]
    assert len({place.file.path for place in encoder.locations.values()}) == 2
    assert encoder.digest(encoder.locations) == source.digest(source.locations)
    assert encoder.file_of(OUT).name.startswith("model-0000")


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/etc/model.safetensors", "sub/model.safetensors", "model.bin", 7]
)
def test_index_with_files_outside_its_folder_is_rejected(model: Path, name: Any) -> None:
    assert_rejected(split_into_shards(model, {"x": name}), "index.json lists")


def test_missing_shard_is_rejected(model: Path) -> None:
    (split_into_shards(model) / "text_encoder" / "model-00002-of-00002.safetensors").unlink()
    assert_rejected(model, "can't be read")


@pytest.mark.parametrize("variant", ["model.fp16.safetensors", "model.non_ema.safetensors"])
def test_variant_is_read_if_the_plain_file_is_missing(model: Path, variant: str, source: TextEncoder) -> None:
    (model / WEIGHTS).rename(model / "text_encoder" / variant)
    encoder = open_checkpoint(model).encoders[0]
    assert encoder.file_of(OUT).name == variant
    assert torch.equal(encoder.tensor(OUT), source.tensor(OUT))


def test_plain_file_takes_precedence_over_a_variant(model: Path) -> None:
    shutil.copy(model / WEIGHTS, model / "text_encoder" / "model.fp16.safetensors")
    assert open_checkpoint(model).encoders[0].file_of(OUT).name == "model.safetensors"


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int8, torch.uint8])
@pytest.mark.parametrize("name", [OUT, TOKEN_EMBEDDING])
def test_quantised_edit_inputs_are_rejected(model: Path, dtype: torch.dtype, name: str) -> None:
    tensors = load_file(model / WEIGHTS)
    stored = name.removeprefix("text_model.")
    tensors[stored] = tensors[stored].to(dtype)
    save_file(tensors, model / WEIGHTS)
    assert_rejected(model, "quantised")


@pytest.mark.parametrize(
    "suffix", [".weight.absmax", ".weight.quant_state.bitsandbytes__nf4", ".weight_scale", ".scale_weight", ".SCB"]
)
def test_weights_with_quantisation_scales_are_rejected(model: Path, suffix: str) -> None:
    tensors = load_file(model / WEIGHTS)
    stem = OUT.removeprefix("text_model.").removesuffix(".weight")
    save_file(tensors | {stem + suffix: torch.ones(1)}, model / WEIGHTS)
    assert_rejected(model, "quantised")


def test_configuration_with_quantization_is_rejected(model: Path) -> None:
    path = model / "text_encoder" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": {"load_in_8bit": True}}))
    assert_rejected(model, "quantised")


def test_tensors_that_an_edit_does_not_read_may_be_quantised(model: Path) -> None:
    tensors = load_file(model / WEIGHTS)
    tensors["encoder.layers.2.mlp.fc1.weight"] = tensors["encoder.layers.2.mlp.fc1.weight"].to(torch.float8_e4m3fn)
    save_file(tensors, model / WEIGHTS)
    encoder = open_checkpoint(model).encoders[0]
    assert encoder.tensor(OUT).dtype is torch.float32
    with pytest.raises(CheckpointError, match="quantised"):
        encoder.tensor("text_model.encoder.layers.2.mlp.fc1.weight")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["model.diffusion_model.input_blocks.0.0.weight"], "model.diffusion_model"),
        (["double_blocks.0.img_attn.qkv.weight"], "double_blocks.0"),
        (["a", "b", "c", "d", "e", "f"], "a, b, c, d, e, ..."),
    ],
)
def test_unknown_layout_is_rejected_with_its_tensor_names(tmp_path: Path, names: list[str], says: str) -> None:
    path = tmp_path / "model.safetensors"
    save_file({name: torch.zeros(2) for name in names}, path)
    assert_rejected(path, says)
    assert_rejected(tmp_path, says)


def test_single_file_with_another_vocabulary_is_rejected(model: Path) -> None:
    assert_rejected(model / WEIGHTS, "814 token embeddings.*another vocabulary")


def test_folder_without_a_model_is_rejected(tmp_path: Path) -> None:
    assert_rejected(tmp_path / "missing", "does not exist")
    assert_rejected(tmp_path, "it has no files")
    (tmp_path / "notes.txt").touch()
    assert_rejected(tmp_path, r"notes\.txt")


@pytest.mark.parametrize("pipeline", ["HunyuanDiTPipeline", "Flux2Pipeline", "KolorsPipeline"])
def test_unsupported_pipeline_is_rejected_by_name(model: Path, pipeline: str) -> None:
    (model / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    assert_rejected(model, pipeline)


def test_missing_tensor_is_rejected(model: Path) -> None:
    tensors = load_file(model / WEIGHTS)
    del tensors["encoder.layers.1.self_attn.k_proj.bias"]
    save_file(tensors, model / WEIGHTS)
    assert_rejected(model, "lacks tensors")


def test_tensor_of_another_shape_is_rejected(model: Path) -> None:
    tensors = load_file(model / WEIGHTS)
    tensors["encoder.layers.0.self_attn.k_proj.weight"] = torch.zeros(64, 32)
    save_file(tensors, model / WEIGHTS)
    assert_rejected(model, "does not fit")


def test_weight_files_of_a_file_and_of_a_folder(model: Path) -> None:
    assert weight_files(model / WEIGHTS) == {"model.safetensors": model / WEIGHTS}
    assert weight_files(model) == {WEIGHTS.as_posix(): model / WEIGHTS}
