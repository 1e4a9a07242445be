import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from editor.checkpoints import TextEncoder, open_checkpoint
from editor.checkpoints.prompt_tokenizer import PromptTokenizer
from editor.checkpoints.tokenizers import build_vocabulary, open_prompt_tokenizer, open_tokenizer, read_merges
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


TEXTS = [
    "",
    A_PHOTO,
    "Hello, WORLD!  it's 42 ünï狐🦊\n<|endoftext|> <|STARTOFTEXT|>x <|EndOfText|>",
    "a " * 90,
    "e\u0301té ﬁ",
]


@pytest.fixture(params=[(pad, decoder) for pad in ("<|endoftext|>", "!") for decoder in (False, True)])
def clip_folder(request: pytest.FixtureRequest, tmp_path: Path, single: Path) -> TextEncoder:
    """SDXL's first encoder with a tokenizer folder, as Stable Diffusion's pipelines have it."""
    pad, has_decoder = request.param
    merges, flags = read_merges(), {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    bos, eos = ({"content": token, **flags} for token in ("<|startoftext|>", "<|endoftext|>"))
    special = {"bos_token": bos, "eos_token": eos, "unk_token": eos, "pad_token": pad}
    typed = {
        name: token if isinstance(token, str) else token["content"] if has_decoder else token | {"__type": "AddedToken"}
        for name, token in special.items()
    }
    settings = typed | {"do_lower_case": True, "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}
    if has_decoder:
        settings["added_tokens_decoder"] = {"49406": bos | {"special": True}, "49407": eos | {"special": True}}
    (tmp_path / "vocab.json").write_text(json.dumps(build_vocabulary(merges)))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, merges)) + "\n")
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(special))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    return replace(open_checkpoint(single).encoders[0], tokenizer_folder=tmp_path)


def assert_same_tokens(encoder: TextEncoder) -> None:
    quick, reference = open_prompt_tokenizer(encoder), open_tokenizer(encoder)
    assert isinstance(quick, PromptTokenizer)
    assert json.loads(quick.backend.to_str()) == json.loads(reference.backend_tokenizer.to_str())
    padded = {"padding": "max_length", "truncation": True, "max_length": 77, "return_tensors": "pt"}
    assert torch.equal(quick(TEXTS, **padded).input_ids, reference(TEXTS, **padded).input_ids)
    assert quick(TEXTS, padding=True)["input_ids"] == reference(TEXTS[:4] + TEXTS[4:], padding=True)["input_ids"]
    spans = {"return_offsets_mapping": True, "verbose": False}
    assert dict(quick(TEXTS, **spans)) == dict(reference(TEXTS, **spans))
    assert dict(quick(A_PHOTO)) == dict(reference(A_PHOTO))
    ids = ("bos_token_id", "eos_token_id", "pad_token_id", "all_special_ids", "added_tokens_encoder")
    for name in (*ids, "bos_token", "eos_token", "pad_token", "unk_token", "model_max_length"):
        assert getattr(quick, name) == getattr(reference, name)
    assert (len(quick), quick.get_vocab()) == (len(reference), reference.get_vocab())
    assert quick.decode(FOX) == reference.decode(FOX)
    assert quick.convert_ids_to_tokens(FOX) == reference.convert_ids_to_tokens(FOX)
    assert quick.convert_ids_to_tokens(320) == reference.convert_ids_to_tokens(320)


def test_prompt_tokenizer_equals_that_of_transformers(single: Path) -> None:
    for encoder in open_checkpoint(single).encoders:
        assert_same_tokens(encoder)


def test_prompt_tokenizer_of_a_clip_folder_equals_that_of_transformers(clip_folder: TextEncoder) -> None:
    assert_same_tokens(clip_folder)


@pytest.mark.parametrize("change", [{"split_special_tokens": True}, {"pad_token": "a</w>"}])
def test_folder_with_other_settings_is_opened_by_transformers(
    clip_folder: TextEncoder, change: dict[str, object]
) -> None:
    assert clip_folder.tokenizer_folder
    settings = clip_folder.tokenizer_folder / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | change))
    assert open_prompt_tokenizer(clip_folder) is open_tokenizer(clip_folder)
