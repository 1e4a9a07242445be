import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig

from editor.checkpoints import OUT_PROJ, TextEncoder, open_checkpoint
from editor.checkpoints.diffusers_layout import CLIP_CONFIG_DEFAULTS
from editor.checkpoints.key_mapping import TOKEN_EMBEDDING
from editor.errors import CheckpointError

OUT = OUT_PROJ.format(layer=0)


def write_copy(source: TextEncoder, target: Path, tensors: dict[str, torch.Tensor]) -> Path:
    folder = target / "text_encoder"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(dict(source.config)))
    save_file(tensors, folder / "model.safetensors")
    return target


def load_tensors(source: TextEncoder) -> dict[str, torch.Tensor]:
    return load_file(source.file_of(OUT))


def test_canonical_names_are_independent_of_the_prefix(source: TextEncoder, tmp_path: Path) -> None:
    tensors = load_tensors(source)
    assert not any(name.startswith("text_model.") for name in tensors), "as transformers 5 writes it"
    root = write_copy(source, tmp_path, {f"text_model.{name}": tensor for name, tensor in tensors.items()})
    (prefixed,) = open_checkpoint(root).encoders
    assert torch.equal(prefixed.tensor(OUT), source.tensor(OUT))
    assert prefixed.stored_name(OUT) == OUT
    assert source.stored_name(OUT) == OUT.removeprefix("text_model.")
    assert prefixed.digest([OUT, TOKEN_EMBEDDING]) == source.digest([TOKEN_EMBEDDING, OUT])


def test_rows_are_returned_in_the_requested_order(source: TextEncoder) -> None:
    ids = torch.tensor([7, 3, 7, 500])
    assert torch.equal(source.read_rows(TOKEN_EMBEDDING, ids), source.tensor(TOKEN_EMBEDDING)[ids])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_are_rejected(source: TextEncoder, tmp_path: Path, value: float) -> None:
    tensors = load_tensors(source)
    tensors[source.stored_name(OUT)][0, 0] = value
    (encoder,) = open_checkpoint(write_copy(source, tmp_path, tensors)).encoders
    with pytest.raises(CheckpointError, match="NaN"):
        encoder.tensor(OUT)


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"\xff" * 64, b"PK\x03\x04" + bytes(99)])
def test_file_that_is_not_safetensors_is_rejected(source: TextEncoder, tmp_path: Path, content: bytes) -> None:
    root = write_copy(source, tmp_path, {"x": torch.zeros(1)})
    (root / "text_encoder" / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="safetensors"):
        open_checkpoint(root)


def test_pickle_is_never_read(source: TextEncoder, tmp_path: Path) -> None:
    weights = write_copy(source, tmp_path, {"x": torch.zeros(1)}) / "text_encoder" / "model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))
    with pytest.raises(CheckpointError, match=r"does not exist; the folder contains pytorch_model\.bin"):
        open_checkpoint(tmp_path)


def test_unsupported_architecture_is_rejected(source: TextEncoder, tmp_path: Path) -> None:
    root = write_copy(source, tmp_path, load_tensors(source))
    (root / "text_encoder" / "config.json").write_text('{"model_type": "siglip_text_model"}')
    with pytest.raises(CheckpointError, match="siglip_text_model"):
        open_checkpoint(root)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("num_hidden_layers", 4),
        ("hidden_size", 128),
        ("vocab_size", 7),
        ("intermediate_size", 64),
        ("num_attention_heads", 5),
        ("num_attention_heads", "4"),
        ("hidden_act", "relu"),
        ("layer_norm_eps", 0.0),
    ],
)
def test_configuration_that_does_not_match_the_weights_is_rejected(
    source: TextEncoder, tmp_path: Path, setting: str, value: object
) -> None:
    root = write_copy(source, tmp_path, load_tensors(source))
    (root / "text_encoder" / "config.json").write_text(json.dumps({**source.config, setting: value}))
    with pytest.raises(CheckpointError):
        open_checkpoint(root)


def test_configuration_defaults_match_transformers() -> None:
    config = CLIPTextConfig().to_dict()
    assert {name: config[name] for name in CLIP_CONFIG_DEFAULTS} == CLIP_CONFIG_DEFAULTS


@pytest.mark.parametrize("with_defaults", [False, True])
def test_geometry_is_read_from_text_config_dict(source: TextEncoder, tmp_path: Path, with_defaults: bool) -> None:
    """Old configurations of CLIPModel; ``text_config`` may be absent or contain defaults only."""
    root = write_copy(source, tmp_path, load_tensors(source))
    config: dict[str, object] = {"model_type": "clip", "text_config_dict": dict(source.config)}
    if with_defaults:
        config["text_config"] = CLIP_CONFIG_DEFAULTS
    (root / "text_encoder" / "config.json").write_text(json.dumps(config))
    (encoder,) = open_checkpoint(root).encoders
    assert (encoder.width, encoder.layers) == (source.width, source.layers)


def test_shards_without_an_index_are_named(source: TextEncoder, tmp_path: Path) -> None:
    weights = write_copy(source, tmp_path, load_tensors(source)) / "text_encoder" / "model.safetensors"
    weights.rename(weights.with_name("model-00001-of-00002.safetensors"))
    with pytest.raises(CheckpointError, match=r"00001-of-00002.*but no model\.safetensors\.index\.json"):
        open_checkpoint(tmp_path)
