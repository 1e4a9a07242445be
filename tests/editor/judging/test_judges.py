"""Judges: independence of the edited model, lookup by model type, embeddings and classification."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from editor import emoji
from editor.checkpoints import open_checkpoint
from editor.errors import JudgeError
from editor.judging.judge import open_judge
from editor.judging.judge_independence import check_independence
from editor.judging.judges.siglip import SiglipJudge
from editor.prompts import PromptBuilder
from tests.editor.checkpoints.layouts import (
    add_prefix,
    random_encoder,
    to_openclip,
    without_projection,
    write_safetensors,
)
from tests.editor.judging.conftest import InstallPlugin
from tests.editor.judging.judge_folders import clip_folder, siglip_folder


def half(tensor: Tensor) -> Tensor:
    return tensor.half()


def brain(tensor: Tensor) -> Tensor:
    return tensor.bfloat16()


def same(tensor: Tensor) -> Tensor:
    return tensor.clone()


@pytest.mark.parametrize("stored", [same, half, brain])
def test_the_edited_encoder_is_refused_under_other_names_and_dtypes(
    stored: Any, model_dir: Path, tmp_path: Path
) -> None:
    """Another file, other names, another floating-point type: the same weights."""
    own = load_file(model_dir / "text_encoder" / "model.safetensors")
    renamed = {f"judge.{i}": stored(tensor) for i, tensor in enumerate(own.values())}
    save_file(renamed | {"vision": torch.randn(4, 4)}, tmp_path / "model.safetensors")
    with pytest.raises(JudgeError, match="being edited"):
        check_independence([tmp_path / "model.safetensors"], model_dir)


def test_a_judge_that_shares_one_matrix_is_refused(model_dir: Path, tmp_path: Path) -> None:
    own = load_file(model_dir / "text_encoder" / "model.safetensors")
    name = next(name for name in own if name.endswith("mlp.fc1.weight"))
    save_file({"a": own[name], "b": torch.randn(8, 8)}, tmp_path / "model.safetensors")
    with pytest.raises(JudgeError):
        check_independence([tmp_path / "model.safetensors"], model_dir)


def test_shared_vectors_are_allowed(model_dir: Path, tmp_path: Path) -> None:
    own = load_file(model_dir / "text_encoder" / "model.safetensors")
    vectors = {name: tensor for name, tensor in own.items() if tensor.ndim == 1}
    save_file(
        vectors | {"ids": torch.arange(24).reshape(1, 24), "b": torch.randn(8, 8)}, tmp_path / "model.safetensors"
    )
    check_independence([tmp_path / "model.safetensors"], model_dir)


def test_the_embedded_judge_is_independent_and_has_a_short_id(builder: PromptBuilder) -> None:
    judge = open_judge(emoji.JUDGE, emoji.WEIGHTS, builder.profile)
    assert judge.short_id == f"judge@{judge.digest[:12]}"
    images = [np.full((64, 64, 3), shade, dtype=np.uint8) for shade in (0, 200)]
    layers = judge.patch_features(images)
    assert len(layers) == 5
    assert all(layer.shape[:2] == (2, 16) for layer in layers)
    assert torch.allclose(layers[0].norm(dim=2), torch.ones(2, 16))
    seen, prompts = judge.embed_images(images), ["a fox", "a pizza, ink"]
    expected = 100 * (seen * judge.embed_texts(prompts)).sum(1).clamp(min=0)
    assert judge.clip_scores(seen, prompts).tolist() == pytest.approx(expected.tolist())


def test_a_siglip_model_can_be_the_judge(
    builder: PromptBuilder, tokenizer: Any, model_dir: Path, tmp_path: Path
) -> None:
    judge = open_judge(siglip_folder(tmp_path / "siglip", tokenizer), model_dir, builder.profile)
    assert isinstance(judge, SiglipJudge)
    embedded = judge.embed_images([np.zeros((64, 64, 3), dtype=np.uint8)] * 2)
    chosen, scores = judge.classify("style", embedded, judge.class_names("style"))
    assert len(chosen) == 2
    assert scores.shape == (2, len(builder.profile.styles))
    assert torch.allclose(embedded.norm(dim=1), torch.ones(2))
    assert [layer.shape for layer in judge.patch_features([np.zeros((32, 32, 3), dtype=np.uint8)])] == [(1, 16, 16)] * 2


PLANTED_JUDGE = """
import torch
from editor.judging.judge import Judge

class Planted(Judge):
    model_type = "planted"

    def embed_texts(self, texts):
        return torch.ones(len(texts), 1)

    def embed_images(self, images):
        return torch.ones(len(images), 1)

    def patch_features(self, images):
        return []
"""


def test_a_judge_of_another_distribution_opens_folders_of_its_model_type(
    builder: PromptBuilder, model_dir: Path, tmp_path: Path, install_plugin: InstallPlugin
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "planted"}))
    save_file({"x": torch.randn(2, 2)}, tmp_path / "model.safetensors")
    with pytest.raises(JudgeError, match="planted"):
        open_judge(tmp_path, model_dir, builder.profile)
    install_plugin("expunge.judges", "planted", PLANTED_JUDGE)
    judge = open_judge(tmp_path, model_dir, builder.profile)
    assert judge.embed_texts(["a fox"]).shape == (1, 1)


def test_judge_stays_in_memory_until_a_file_of_it_changes(
    builder: PromptBuilder, model_dir: Path, tmp_path: Path, install_plugin: InstallPlugin
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "planted"}))
    save_file({"x": torch.randn(2, 2)}, tmp_path / "model.safetensors")
    install_plugin("expunge.judges", "planted", PLANTED_JUDGE)
    judge = open_judge(tmp_path, model_dir, builder.profile)
    assert open_judge(tmp_path, model_dir, builder.profile) is judge
    assert open_judge(tmp_path, model_dir, builder.profile.model_copy(update={"styles": ("ink",)})) is not judge
    save_file({"x": torch.randn(3, 2)}, tmp_path / "model.safetensors")
    assert open_judge(tmp_path, model_dir, builder.profile) is not judge


def test_an_encoder_saved_again_by_transformers_is_refused(model_dir: Path, tmp_path: Path) -> None:
    """Saved again by transformers, beside a vision tower, the text tower is still the model's."""
    CLIPTextModel.from_pretrained(model_dir / "text_encoder").half().save_pretrained(tmp_path)
    assert open_checkpoint(model_dir).encoders
    with pytest.raises(JudgeError):
        check_independence([tmp_path / "model.safetensors"], model_dir)


def test_a_shared_matrix_in_any_shard_is_refused(model_dir: Path, tmp_path: Path) -> None:
    own = load_file(model_dir / "text_encoder" / "model.safetensors")
    name = next(name for name in own if name.endswith("mlp.fc1.weight"))
    shards = [tmp_path / f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    save_file({"a": torch.randn(128, 64)}, shards[0])
    check_independence(shards[:1], model_dir)
    save_file({"b": own[name].half()}, shards[1])
    with pytest.raises(JudgeError):
        check_independence(shards, model_dir)


def test_the_second_encoder_of_a_model_is_refused(tokenizer: Any, model_dir: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    second = CLIPTextModelWithProjection(CLIPTextModel.from_pretrained(model_dir / "text_encoder").config)
    shutil.copytree(model_dir, tmp_path / "model")
    second.save_pretrained(tmp_path / "model" / "text_encoder_2")
    tokenizer.save_pretrained(tmp_path / "model" / "tokenizer_2")
    assert [one.component for one in open_checkpoint(tmp_path / "model").encoders] == ["text_encoder", "text_encoder_2"]
    second.half().save_pretrained(tmp_path / "judge")
    weights = [tmp_path / "judge" / "model.safetensors"]
    check_independence(weights, model_dir)
    with pytest.raises(JudgeError):
        check_independence(weights, tmp_path / "model")


@pytest.mark.parametrize("own", ["encoder.layers.0.self_attn.v_proj.weight", "text_projection.weight"])
def test_an_encoder_in_a_single_file_is_refused(own: str, tmp_path: Path) -> None:
    """SDXL stores its second encoder in OpenCLIP's layout, with fused queries, keys and values, and a transposed projection."""
    encoders = [random_encoder(kind, torch.arange(8), torch.float16) for kind in ("clip_l", "clip_g")]
    first = add_prefix("conditioner.embedders.0.transformer.", without_projection(encoders[0]))
    second = add_prefix("conditioner.embedders.1.model.", to_openclip(encoders[1]))
    checkpoint = write_safetensors(tmp_path / "sdxl.safetensors", first | second)
    matrix = next(tensor for name, tensor in encoders[1].items() if name.endswith(own))
    judge = [tmp_path / "judge.safetensors"]
    save_file({"a": torch.randn(matrix.shape)}, judge[0])
    check_independence(judge, checkpoint)
    save_file({"a": matrix.bfloat16()}, judge[0])
    with pytest.raises(JudgeError):
        check_independence(judge, checkpoint)


@pytest.mark.parametrize(
    "form",
    [{}, {"max_shard_size": "20KB"}, {"variant": "fp16"}, {"variant": "fp16", "max_shard_size": "20KB"}],
    ids=str,
)
def test_a_judge_in_shards_or_as_a_variant_is_the_same_judge(
    form: dict[str, Any], builder: PromptBuilder, tokenizer: Any, model_dir: Path, tmp_path: Path
) -> None:
    plain = open_judge(clip_folder(tmp_path / "plain", tokenizer), model_dir, builder.profile)
    judge = open_judge(clip_folder(tmp_path / "other", tokenizer, **form), model_dir, builder.profile)
    assert torch.allclose(judge.embed_texts(["a fox"]), plain.embed_texts(["a fox"]), atol=1e-6)
    assert len(judge.digest) == 64
    assert (judge.digest == plain.digest) == ("max_shard_size" not in form)


def test_a_judge_moves_to_a_device_and_dtype_and_answers_in_float32(
    builder: PromptBuilder, tokenizer: Any, model_dir: Path, tmp_path: Path
) -> None:
    """Inputs that stay on the CPU would fail on the `meta` device; embeddings come back to the CPU."""
    folder = clip_folder(tmp_path, tokenizer)
    images = [np.zeros((40, 40, 3), dtype=np.uint8)]
    exact = open_judge(folder, model_dir, builder.profile).embed_images(images)
    judge = open_judge(folder, model_dir, builder.profile, "cpu", torch.bfloat16)
    embedded = judge.embed_images(images)
    assert embedded.dtype == torch.float32
    assert torch.allclose(embedded, exact, atol=0.05)
    assert not torch.equal(embedded, exact)
    judge.to("meta")
    devices = {tensor.device.type for inputs in judge.image_batches(images) for tensor in inputs.values()}  # type: ignore[attr-defined]
    assert devices == {"meta"}


@pytest.mark.parametrize(
    ("files", "remedy"),
    [
        ({}, "EXPUNGE_JUDGE"),
        ({"open_clip_config.json": "{}", "open_clip_model.safetensors": ""}, "layout of transformers"),
        ({"pytorch_model.bin": "", "config.json": "{}"}, "safe_serialization"),
        ({"model.safetensors": ""}, "CLIP or SigLIP"),
        ({"model.safetensors": "", "config.json": "{}"}, "Download the judge again"),
        ({"model.safetensors": "weights", "config.json": '{"model_type": "vit"}'}, "model types"),
    ],
)
def test_a_folder_that_cannot_be_read_is_refused_with_field_and_remedy(
    files: dict[str, str], remedy: str, builder: PromptBuilder, model_dir: Path, tmp_path: Path
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    if files.get("model.safetensors"):
        save_file({"a": torch.randn(4, 4)}, tmp_path / "model.safetensors")
    with pytest.raises(JudgeError) as caught:
        open_judge(tmp_path, model_dir, builder.profile)
    assert caught.value.field == "EXPUNGE_JUDGE"
    assert remedy in caught.value.remedy


def test_a_judge_without_tokenizer_is_refused(
    builder: PromptBuilder, tokenizer: Any, model_dir: Path, tmp_path: Path
) -> None:
    for path in clip_folder(tmp_path, tokenizer).glob("tokenizer*"):
        path.unlink()
    with pytest.raises(JudgeError, match="tokenizer") as caught:
        open_judge(tmp_path, model_dir, builder.profile)
    assert "tokenizer.json" in caught.value.remedy


@pytest.mark.parametrize("part", ["vision_model.", "text_projection"])
def test_a_judge_that_lacks_weights_is_refused(
    part: str, builder: PromptBuilder, tokenizer: Any, model_dir: Path, tmp_path: Path
) -> None:
    """transformers initialises missing weights at random."""
    path = clip_folder(tmp_path, tokenizer) / "model.safetensors"
    save_file({name: tensor for name, tensor in load_file(path).items() if not name.startswith(part)}, path)
    with pytest.raises(JudgeError, match="lacks") as caught:
        open_judge(tmp_path, model_dir, builder.profile)
    assert "whole model" in caught.value.remedy
