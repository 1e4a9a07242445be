import json
from pathlib import Path

import pytest
import torch

from editor.checkpoints import open_checkpoint
from editor.checkpoints.tokenizers import build_vocabulary, open_tokenizer, read_merges
from editor.errors import CheckpointError
from tests.editor.checkpoints.layouts import (
    add_prefix,
    random_encoder,
    to_openclip,
    without_projection,
    write_safetensors,
)

FOX = [49406, 320, 1125, 539, 320, 3240, 49407]
"""“a photo of a fox”, as CLIP's tokenizer encodes it."""
IDS = torch.tensor([0])
A_PHOTO = "a photo of a fox"


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SDXL file, with an encoder of OpenAI and one of OpenCLIP."""
    first, second = random_encoder("clip_l", IDS, torch.float16), random_encoder("clip_g", IDS, torch.float16)
    tensors = add_prefix("conditioner.embedders.0.transformer.", without_projection(first))
    tensors |= add_prefix("conditioner.embedders.1.model.", to_openclip(second))
    return write_safetensors(tmp_path_factory.mktemp("single") / "sdxl.safetensors", tensors)


def test_single_file_uses_clip_tokenizer_with_the_padding_of_its_pipeline(single: Path) -> None:
    first, second = (open_tokenizer(encoder) for encoder in open_checkpoint(single).encoders)
    for tokenizer, pad in ((first, 49407), (second, 0)):
        assert tokenizer(A_PHOTO)["input_ids"] == FOX
        assert tokenizer(A_PHOTO, padding="max_length")["input_ids"] == FOX + [pad] * 70
        assert tokenizer.model_max_length == 77
    assert first("Hello, WORLD;  it's 42 ünï")["input_ids"] == second("hello, world ; it's 42 ünï")["input_ids"]
    assert [tokenizer("fox!")["input_ids"][2] for tokenizer in (first, second)] == [256, 0], "as in the pipelines"


def test_vocabulary_matches_clip() -> None:
    entries = build_vocabulary(read_merges())
    known = {"!": 0, "!</w>": 256, "in": 512, "the</w>": 518, "fox</w>": 3240, "jekyll</w>": 49405}
    assert {entry: entries[entry] for entry in known} == known
    assert (len(entries), entries["<|startoftext|>"], entries["<|endoftext|>"]) == (49408, 49406, 49407)


def test_tokenizer_is_cached_until_its_files_change(single: Path, folder: Path) -> None:
    for path in (single, folder):
        first, again = (open_tokenizer(open_checkpoint(path).encoders[0]) for _ in range(2))
        assert first is again
    settings = folder / "tokenizer" / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"pad_token": "!"}))
    assert open_tokenizer(open_checkpoint(folder).encoders[0]).pad_token == "!"


@pytest.fixture
def folder(tmp_path: Path, model_dir: Path) -> Path:
    """A copy of the tiny model, for tests that damage it."""
    for path in model_dir.rglob("*"):
        if path.is_file():
            target = tmp_path / path.relative_to(model_dir)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    return tmp_path


def test_folder_tokenizer_keeps_its_padding_and_uses_the_context_length(folder: Path) -> None:
    settings = json.loads((folder / "tokenizer" / "tokenizer_config.json").read_text())
    del settings["model_max_length"]
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(settings | {"pad_token": "!"}))
    encoder = open_checkpoint(folder).encoders[0]
    tokenizer = open_tokenizer(encoder)
    assert tokenizer.model_max_length == encoder.context_length, "the encoder's context length if the files state none"
    ids = tokenizer("a fox", padding="max_length")["input_ids"]
    assert len(ids) == encoder.context_length
    assert ids[-1] == tokenizer.convert_tokens_to_ids("!") != tokenizer.eos_token_id


def test_tokenizer_with_more_tokens_than_the_encoder_is_rejected(folder: Path) -> None:
    encoder = open_checkpoint(folder).encoders[0]
    tokenizer = open_tokenizer(encoder)
    tokenizer.add_tokens(["<extra>"])
    tokenizer.save_pretrained(folder / "tokenizer")
    with pytest.raises(CheckpointError, match="815 tokens, but the encoder has 814"):
        open_tokenizer(open_checkpoint(folder).encoders[0])


def test_damaged_tokenizer_is_rejected(folder: Path) -> None:
    (folder / "tokenizer" / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match="tokenizer"):
        open_tokenizer(open_checkpoint(folder).encoders[0])


def test_another_vocabulary_without_a_tokenizer_is_rejected(folder: Path) -> None:
    for path in (folder / "tokenizer").iterdir():
        path.unlink()
    with pytest.raises(CheckpointError, match="not CLIP's"):
        open_tokenizer(open_checkpoint(folder).encoders[0])
