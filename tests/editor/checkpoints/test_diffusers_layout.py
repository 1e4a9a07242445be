import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig

from editor.checkpoints import OUT_PROJ, TextEncoder, open_checkpoint
from editor.checkpoints.diffusers_layout import CLIP_CONFIG_DEFAULTS
from editor.checkpoints.key_mapping import TOKENS
from editor.errors import CheckpointError

OUT = OUT_PROJ.format(layer=0)


def copy_with(source: TextEncoder, target: Path, tensors: dict[str, torch.Tensor]) -> Path:
    folder = target / "text_encoder"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(dict(source.config)))
    save_file(tensors, folder / "model.safetensors")
    return target


def tensors_of(source: TextEncoder) -> dict[str, torch.Tensor]:
    return load_file(source.file_of(OUT))


def test_names_are_the_same_with_and_without_the_prefix(source: TextEncoder, tmp_path: Path) -> None:
    tensors = tensors_of(source)
    assert not any(name.startswith("text_model.") for name in tensors), "as transformers 5 writes it"
    root = copy_with(source, tmp_path, {f"text_model.{name}": tensor for name, tensor in tensors.items()})
    (prefixed,) = open_checkpoint(root).encoders
    assert torch.equal(prefixed.tensor(OUT), source.tensor(OUT))
    assert prefixed.stored_name(OUT) == OUT
    assert source.stored_name(OUT) == OUT.removeprefix("text_model.")
    assert prefixed.digest([OUT, TOKENS]) == source.digest([TOKENS, OUT])


def test_rows_are_those_asked_for_in_that_order(source: TextEncoder) -> None:
    ids = torch.tensor([7, 3, 7, 500])
    assert torch.equal(source.rows(TOKENS, ids), source.tensor(TOKENS)[ids])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_a_number_is_refused(source: TextEncoder, tmp_path: Path, value: float) -> None:
    tensors = tensors_of(source)
    tensors[source.stored_name(OUT)][0, 0] = value
    (encoder,) = open_checkpoint(copy_with(source, tmp_path, tensors)).encoders
    with pytest.raises(CheckpointError, match="NaN"):
        encoder.tensor(OUT)


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"\xff" * 64, b"PK\x03\x04" + bytes(99)])
def test_what_is_not_safetensors_is_refused(source: TextEncoder, tmp_path: Path, content: bytes) -> None:
    root = copy_with(source, tmp_path, {"x": torch.zeros(1)})
    (root / "text_encoder" / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="safetensors"):
        open_checkpoint(root)


def test_a_pickle_beside_is_never_read(source: TextEncoder, tmp_path: Path) -> None:
    weights = copy_with(source, tmp_path, {"x": torch.zeros(1)}) / "text_encoder" / "model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))
    with pytest.raises(CheckpointError, match=r"missing, beside pytorch_model\.bin"):
        open_checkpoint(tmp_path)


def test_another_architecture_is_refused(source: TextEncoder, tmp_path: Path) -> None:
    root = copy_with(source, tmp_path, tensors_of(source))
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
def test_a_configuration_that_its_weights_do_not_fit_is_refused(
    source: TextEncoder, tmp_path: Path, setting: str, value: object
) -> None:
    root = copy_with(source, tmp_path, tensors_of(source))
    (root / "text_encoder" / "config.json").write_text(json.dumps({**source.config, setting: value}))
    with pytest.raises(CheckpointError):
        open_checkpoint(root)


def test_what_a_configuration_leaves_out_is_what_transformers_means() -> None:
    config = CLIPTextConfig().to_dict()
    assert {name: config[name] for name in CLIP_CONFIG_DEFAULTS} == CLIP_CONFIG_DEFAULTS
