"""The three forms of an edit: that they say the same, and that they can't be misapplied."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel

from editor.checkpoints.folder import file_digest
from editor.errors import PublishingError
from editor.publishing.atomic import replacing
from editor.publishing.delta import Binding, apply_delta, read_binding, write_delta
from editor.publishing.full import overlay, read_layout
from editor.publishing.lora import write_lora
from editor.quickfix.update import TensorUpdate

TENSOR = "encoder.layers.0.self_attn.out_proj.weight"
BASE = "text_encoder/model.safetensors"
PROMPTS = ["a fox", "an owl"]
Load = Callable[[], StableDiffusionPipeline]


def bind(update: TensorUpdate) -> Binding:
    return Binding(BASE, file_digest(update.file), "request")


@pytest.fixture
def delta(update: TensorUpdate, tmp_path: Path) -> Path:
    path = tmp_path / "out" / "delta.safetensors"
    write_delta({update.stored_name: update.edited}, bind(update), path)
    return path


def load(model_dir: Path, **parts: object) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(model_dir, dtype=torch.float32, use_safetensors=True, **parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def encoded(pipeline: StableDiffusionPipeline) -> Tensor:
    ids = pipeline.tokenizer(PROMPTS, padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        outputs: Tensor = pipeline.text_encoder(ids).last_hidden_state
    return outputs


def drawn(pipeline: StableDiffusionPipeline) -> np.ndarray:
    generator = torch.Generator().manual_seed(0)
    images: np.ndarray = pipeline(PROMPTS, num_inference_steps=2, generator=generator, output_type="np").images
    return images


def test_all_forms_give_the_same_outputs_and_images(model_dir: Path, update: TensorUpdate, delta: Path) -> None:
    write_lora(update, delta.with_name("lora.safetensors"))
    full = apply_delta(model_dir, delta, delta.parent)
    with_full = load(model_dir, text_encoder=CLIPTextModel.from_pretrained(full.parent, dtype=torch.float32))
    with_lora = load(model_dir)
    with_lora.load_lora_weights(delta.parent, weight_name="lora.safetensors")
    by_hand = load(model_dir)
    weights = by_hand.text_encoder.state_dict()
    by_hand.text_encoder.load_state_dict(weights | {TENSOR: update.base.double() + update.up @ update.down})

    exact = encoded(by_hand)
    assert (exact - encoded(load(model_dir))).abs().max() > 0.1
    torch.testing.assert_close(encoded(with_lora), exact, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        encoded(with_full), exact, atol=1e-5 if update.base.dtype == torch.float32 else 1e-2, rtol=0
    )
    np.testing.assert_allclose(drawn(with_lora), drawn(with_full), atol=1e-3)
    assert np.abs(drawn(with_full) - drawn(load(model_dir))).max() > 0.01


def test_full_weights_differ_from_the_base_in_one_range_only(
    model_dir: Path, update: TensorUpdate, delta: Path
) -> None:
    full = apply_delta(model_dir, delta, delta.parent).read_bytes()
    base = update.file.read_bytes()
    span = read_layout(update.file).spans[TENSOR]
    assert (full[: span.start], full[span.end :]) == (base[: span.start], base[span.end :])
    assert full[span.start : span.end] != base[span.start : span.end]


def test_full_weights_come_with_the_config(model_dir: Path, delta: Path) -> None:
    full = apply_delta(model_dir, delta, delta.parent)
    assert full.with_name("config.json").read_bytes() == (model_dir / "text_encoder/config.json").read_bytes()


def test_delta_holds_the_edited_tensor_in_the_dtype_of_the_base(update: TensorUpdate, delta: Path) -> None:
    (stored,) = load_file(delta).values()
    torch.testing.assert_close(stored, update.edited, atol=0, rtol=0)
    assert read_binding(delta) == bind(update)


def test_the_same_edit_gives_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    script = """
import sys, torch
from pathlib import Path
from editor.publishing.delta import Binding, write_delta
write_delta({"b": torch.ones(2), "a": torch.zeros(3)}, Binding("x", "y", "z"), Path(sys.argv[1]))
"""
    for name in ("one", "two"):
        subprocess.run([sys.executable, "-c", script, tmp_path / name], check=True)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_many_tensors_are_placed_whatever_their_order(tmp_path: Path) -> None:
    base = {name: torch.randn(8, 3) for name in "abcd"}
    edited = {name: torch.randn(8, 3) for name in "db"}
    save_file(base, tmp_path / "base")
    save_file(edited, tmp_path / "patch")
    with replacing(tmp_path / "full") as file:
        assert overlay(tmp_path / "base", tmp_path / "patch", file) == file_digest(tmp_path / "base")
    assert {n: t.tolist() for n, t in load_file(tmp_path / "full").items()} == {
        n: t.tolist() for n, t in (base | edited).items()
    }


def test_another_base_is_refused_and_nothing_is_written(model_dir: Path, delta: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / BASE
    other.parent.mkdir(parents=True)
    content = bytearray((model_dir / BASE).read_bytes())
    content[-1] ^= 1
    other.write_bytes(content)
    with pytest.raises(PublishingError, match="not the file that the edit was made for"):
        apply_delta(tmp_path / "other", delta, tmp_path / "edited")
    assert not list((tmp_path / "edited").rglob("*.*"))


@pytest.mark.parametrize(
    "tensors", [{"nowhere": torch.zeros(2)}, {TENSOR: torch.zeros(2)}, {TENSOR: torch.zeros(32, 32, dtype=torch.int8)}]
)
def test_a_tensor_that_does_not_fit_is_refused(
    model_dir: Path, update: TensorUpdate, tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    write_delta(tensors, bind(update), tmp_path / "delta")
    with pytest.raises(PublishingError, match="has no tensor"):
        apply_delta(model_dir, tmp_path / "delta", tmp_path / "edited")


@pytest.mark.parametrize("base", ["../model.safetensors", "/etc/passwd", "text_encoder/../../x"])
def test_a_delta_for_a_file_outside_the_model_is_refused(tmp_path: Path, base: str) -> None:
    write_delta({"a": torch.zeros(1)}, Binding(base, "0" * 64, "request"), tmp_path / "delta")
    with pytest.raises(PublishingError, match="is not a delta"):
        apply_delta(tmp_path, tmp_path / "delta", tmp_path / "edited")


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0[]", b'\x09\0\0\0\0\0\0\0{"a": {}}'])
def test_a_damaged_delta_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "delta").write_bytes(content)
    with pytest.raises(PublishingError):
        apply_delta(tmp_path, tmp_path / "delta", tmp_path / "edited")


def test_a_delta_cut_short_is_refused(model_dir: Path, delta: Path, tmp_path: Path) -> None:
    delta.write_bytes(delta.read_bytes()[:-1])
    with pytest.raises(PublishingError, match="ends early"):
        apply_delta(model_dir, delta, tmp_path / "edited")
    assert not list((tmp_path / "edited").rglob("*.*"))


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), replacing(path) as file:
        file.writelines([b"new, by half", "no bytes"])  # type: ignore[list-item]
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"old")]


def test_a_process_killed_while_writing_leaves_no_half_file(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from editor.publishing.atomic import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "file"], check=False)
    assert done.returncode == -9
    assert not (tmp_path / "file").exists()
