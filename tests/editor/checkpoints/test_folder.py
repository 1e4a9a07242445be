import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from editor.checkpoints import TextEncoderFile, open_text_encoder
from editor.errors import CheckpointError

OUT_PROJ = "text_model.encoder.layers.0.self_attn.out_proj.weight"
EMBEDDING = "text_model.embeddings.token_embedding.weight"


def copy_with(source: TextEncoderFile, target: Path, tensors: dict[str, torch.Tensor]) -> TextEncoderFile:
    folder = target / "text_encoder"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(source.config))
    save_file(tensors, folder / "model.safetensors")
    return TextEncoderFile(target, folder, source.config)


def test_names_are_the_same_with_and_without_the_prefix(source: TextEncoderFile, tmp_path: Path) -> None:
    tensors = load_file(source.file)
    assert not any(name.startswith("text_model.") for name in tensors), "as transformers 5 writes it"
    prefixed = copy_with(source, tmp_path, {f"text_model.{name}": tensor for name, tensor in tensors.items()})
    assert torch.equal(prefixed.tensor(OUT_PROJ), source.tensor(OUT_PROJ))
    assert prefixed.stored_name(OUT_PROJ) == OUT_PROJ
    assert source.stored_name(OUT_PROJ) == OUT_PROJ.removeprefix("text_model.")


def test_rows_are_those_asked_for_in_that_order(source: TextEncoderFile) -> None:
    ids = torch.tensor([7, 3, 7, 500])
    assert torch.equal(source.rows(EMBEDDING, ids), source.tensor(EMBEDDING)[ids])


def test_not_a_number_is_refused(source: TextEncoderFile, tmp_path: Path) -> None:
    tensors = load_file(source.file)
    tensors[source.stored_name(OUT_PROJ)][0, 0] = float("nan")
    with pytest.raises(CheckpointError, match="NaN"):
        copy_with(source, tmp_path, tensors).tensor(OUT_PROJ)


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"\xff" * 64])
def test_what_is_not_safetensors_is_refused(source: TextEncoderFile, tmp_path: Path, content: bytes) -> None:
    copy_with(source, tmp_path, {"x": torch.zeros(1)})
    (tmp_path / "text_encoder" / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="safetensors"):
        open_text_encoder(tmp_path)


def test_a_pickle_beside_is_never_read(source: TextEncoderFile, tmp_path: Path) -> None:
    copy_with(source, tmp_path, {"x": torch.zeros(1)})
    weights = tmp_path / "text_encoder" / "model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))
    with pytest.raises(CheckpointError, match="missing"):
        open_text_encoder(tmp_path)


def test_another_architecture_is_refused(source: TextEncoderFile, tmp_path: Path) -> None:
    copy_with(source, tmp_path, load_file(source.file))
    (tmp_path / "text_encoder" / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(CheckpointError, match="t5"):
        open_text_encoder(tmp_path)
