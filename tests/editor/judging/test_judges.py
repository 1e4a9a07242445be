"""Judges: independence of the edited model, lookup by model type, embeddings and classification."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel, SiglipConfig, SiglipModel, SiglipTextConfig, SiglipVisionConfig

from editor import emoji
from editor.checkpoints import open_checkpoint
from editor.errors import JudgeError
from editor.judging.judge import open_judge
from editor.judging.judge_independence import check_independence
from editor.judging.judges.siglip import SiglipJudge
from editor.prompts import PromptBuilder
from tests.editor.judging.conftest import InstallPlugin


def half(tensor: Tensor) -> Tensor:
    return tensor.half()


def same(tensor: Tensor) -> Tensor:
    return tensor.clone()


@pytest.mark.parametrize("stored", [same, half])
def test_the_edited_encoder_is_refused_under_other_names_and_dtypes(
    stored: Any, model_dir: Path, tmp_path: Path
) -> None:
    """Another file, other names, another floating-point type: the same weights."""
    own = load_file(model_dir / "text_encoder" / "model.safetensors")
    renamed = {f"judge.{i}": stored(tensor) for i, tensor in enumerate(own.values())}
    save_file(renamed | {"vision": torch.randn(4, 4)}, tmp_path / "model.safetensors")
    with pytest.raises(JudgeError, match="being edited"):
        check_independence(tmp_path / "model.safetensors", model_dir)


def test_a_judge_that_shares_one_matrix_is_refused(model_dir: Path, tmp_path: Path) -> None:
    own = load_file(model_dir / "text_encoder" / "model.safetensors")
    name = next(name for name in own if name.endswith("mlp.fc1.weight"))
    save_file({"a": own[name], "b": torch.randn(8, 8)}, tmp_path / "model.safetensors")
    with pytest.raises(JudgeError):
        check_independence(tmp_path / "model.safetensors", model_dir)


def test_shared_vectors_are_allowed(model_dir: Path, tmp_path: Path) -> None:
    own = load_file(model_dir / "text_encoder" / "model.safetensors")
    vectors = {name: tensor for name, tensor in own.items() if tensor.ndim == 1}
    save_file(
        vectors | {"ids": torch.arange(24).reshape(1, 24), "b": torch.randn(8, 8)}, tmp_path / "model.safetensors"
    )
    check_independence(tmp_path / "model.safetensors", model_dir)


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


def tiny_siglip(folder: Path, tokenizer: Any) -> Path:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = SiglipTextConfig(vocab_size=len(tokenizer), max_position_embeddings=16, projection_size=16, **sizes)
    vision = SiglipVisionConfig(image_size=32, patch_size=8, **sizes)
    SiglipModel(SiglipConfig(text_config=text.to_dict(), vision_config=vision.to_dict())).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_siglip_model_can_be_the_judge(
    builder: PromptBuilder, tokenizer: Any, model_dir: Path, tmp_path: Path
) -> None:
    judge = open_judge(tiny_siglip(tmp_path / "siglip", tokenizer), model_dir, builder.profile)
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


def test_an_encoder_saved_again_by_transformers_is_refused(model_dir: Path, tmp_path: Path) -> None:
    """Saved again by transformers, beside a vision tower, the text tower is still the model's."""
    CLIPTextModel.from_pretrained(model_dir / "text_encoder").half().save_pretrained(tmp_path)
    assert open_checkpoint(model_dir).encoders
    with pytest.raises(JudgeError):
        check_independence(tmp_path / "model.safetensors", model_dir)
