"""Full weights, delta and LoRA of an edit are equivalent and can't be applied to the wrong model."""

import errno
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel

from api_schemas.overlays import Segment
from editor.checkpoints.safetensors_header import read_layout
from editor.checkpoints.tensor_update import TensorUpdate
from editor.errors import EditorError, PublishingError
from editor.io.atomic import open_atomic
from editor.io.digests import file_digest
from editor.publishing import overlay as overlay
from editor.publishing.apply import apply_delta
from editor.publishing.delta import delta_key, read_header, write_delta
from editor.publishing.lora import write_loras

TENSOR = "encoder.layers.0.self_attn.out_proj.weight"
BASE = "text_encoder/model.safetensors"
PROMPTS = ["a fox", "an owl"]
Load = Callable[[], StableDiffusionPipeline]


@pytest.fixture(scope="session", params=[torch.float32, torch.float16], ids=["fp32", "fp16"])
def precision(request: pytest.FixtureRequest) -> torch.dtype:
    dtype: torch.dtype = request.param
    return dtype


@pytest.fixture
def delta(model_dir: Path, update: TensorUpdate, tmp_path: Path) -> Path:
    path = tmp_path / "out" / "delta.safetensors"
    write_delta([update], model_dir, path, request="request", digests={BASE: file_digest(update.file)})
    return path


def load(model_dir: Path, **parts: object) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(model_dir, dtype=torch.float32, use_safetensors=True, **parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def encode_prompts(pipeline: StableDiffusionPipeline) -> Tensor:
    ids = pipeline.tokenizer(PROMPTS, padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        outputs: Tensor = pipeline.text_encoder(ids).last_hidden_state
    return outputs


def generate_pixels(pipeline: StableDiffusionPipeline) -> np.ndarray:
    generator = torch.Generator().manual_seed(0)
    images: np.ndarray = pipeline(PROMPTS, num_inference_steps=2, generator=generator, output_type="np").images
    return images


def test_full_weights_delta_and_lora_give_the_same_outputs_and_images(
    model_dir: Path, update: TensorUpdate, delta: Path
) -> None:
    write_loras([update], "stable-diffusion-1", delta.parent)
    (full,) = apply_delta(model_dir, delta, delta.parent)
    with_full = load(model_dir, text_encoder=CLIPTextModel.from_pretrained(full.parent, dtype=torch.float32))
    with_lora = load(model_dir)
    with_lora.load_lora_weights(delta.parent, weight_name="lora.safetensors")
    by_hand = load(model_dir)
    weights = by_hand.text_encoder.state_dict()
    by_hand.text_encoder.load_state_dict(weights | {TENSOR: update.base.double() + update.up @ update.down})

    exact = encode_prompts(by_hand)
    assert (exact - encode_prompts(load(model_dir))).abs().max() > 0.1
    torch.testing.assert_close(encode_prompts(with_lora), exact, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        encode_prompts(with_full), exact, atol=1e-5 if update.base.dtype == torch.float32 else 1e-2, rtol=0
    )
    np.testing.assert_allclose(generate_pixels(with_lora), generate_pixels(with_full), atol=1e-3)
    assert np.abs(generate_pixels(with_full) - generate_pixels(load(model_dir))).max() > 0.01


def test_full_weights_differ_from_the_base_in_one_range_only(
    model_dir: Path, update: TensorUpdate, delta: Path
) -> None:
    full = (apply_delta(model_dir, delta, delta.parent)[0]).read_bytes()
    base = update.file.read_bytes()
    span = read_layout(update.file).spans[TENSOR]
    assert (full[: span.start], full[span.end :]) == (base[: span.start], base[span.end :])
    assert full[span.start : span.end] != base[span.start : span.end]


def test_full_weights_include_the_config(model_dir: Path, delta: Path) -> None:
    (full,) = apply_delta(model_dir, delta, delta.parent)
    assert full.with_name("config.json").read_bytes() == (model_dir / "text_encoder/config.json").read_bytes()


def test_delta_stores_the_edited_tensor_in_the_dtype_of_the_base(update: TensorUpdate, delta: Path) -> None:
    (stored,) = load_file(delta).values()
    torch.testing.assert_close(stored, update.edited, atol=0, rtol=0)
    binding = read_header(delta)
    (original,) = binding.files[BASE].tensors.values()
    span = read_layout(update.file).spans[TENSOR]
    replaced = update.file.read_bytes()[span.start : span.end]
    assert original.sha256 == hashlib.sha256(replaced).hexdigest()
    assert (original.component, original.name) == ("text_encoder", update.name)
    assert (binding.files[BASE].sha256, binding.request) == (file_digest(update.file), "request")


def test_same_edit_gives_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    script = """
import sys, torch
from pathlib import Path
from editor.publishing.delta import write_delta
from editor.publishing.lora import write_loras
from editor.checkpoints.tensor_update import TensorUpdate
out = Path(sys.argv[1])
def update(name):
    return TensorUpdate("text_encoder", name, name, Path("/m/x"), torch.ones(8, 8), torch.ones(8, 1), torch.ones(1, 8))
write_delta([update("b"), update("a")], Path("/m"), out / "delta", digests={"x": "1", "y": "2"})
write_loras([update("b"), update("a")], "sdxl", out)
"""
    for name in ("one", "two"):
        subprocess.run([sys.executable, "-c", script, tmp_path / name], check=True)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two
    assert len(one) == 3


@pytest.fixture
def two_files(tmp_path: Path) -> list[TensorUpdate]:
    """Updates, in no particular order, of tensors with the same names in two files of a model."""
    updates = []
    for component, edited in (("text_encoder", "db"), ("text_encoder_2", "a")):
        file = tmp_path / "model" / component / "model.safetensors"
        file.parent.mkdir(parents=True)
        tensors = {name: torch.randn(8, 8) for name in "abcd"}
        save_file(tensors, file)
        (file.parent / "config.json").write_text(component)
        for name in edited:
            updates.append(
                TensorUpdate(component, name, name, file, tensors[name], torch.randn(8, 1), torch.randn(1, 8))
            )
    return updates


def test_delta_applies_to_several_tensors_of_several_files(two_files: list[TensorUpdate], tmp_path: Path) -> None:
    model, out = tmp_path / "model", tmp_path / "out"
    write_delta(two_files, model, tmp_path / "delta")
    files = apply_delta(model, tmp_path / "delta", out)
    assert [file.relative_to(out).as_posix() for file in files] == [BASE, "text_encoder_2/model.safetensors"]
    for file in files:
        expected = load_file(model / file.relative_to(out))
        expected |= {u.stored_name: u.edited for u in two_files if u.component == file.parent.name}
        torch.testing.assert_close(load_file(file), expected, atol=0, rtol=0)
        assert (file.parent / "config.json").read_text() == file.parent.name


@pytest.mark.parametrize("wrong", ["text_encoder", "text_encoder_2"])
def test_nothing_is_written_if_one_of_several_files_is_wrong(
    two_files: list[TensorUpdate], tmp_path: Path, wrong: str
) -> None:
    write_delta(two_files, tmp_path / "model", tmp_path / "delta")
    (tmp_path / "model" / wrong / "model.safetensors").unlink()
    with pytest.raises(EditorError):
        apply_delta(tmp_path / "model", tmp_path / "delta", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_full_disk_leaves_no_partial_output(
    two_files: list[TensorUpdate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_delta(two_files, tmp_path / "model", tmp_path / "delta")
    real = overlay.copy_range

    def copy(source: Any, target: Any, *where: Any) -> None:
        if "text_encoder_2" in target.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target, *where)

    monkeypatch.setattr(overlay, "copy_range", copy)
    with pytest.raises(OSError, match="No space"):
        apply_delta(tmp_path / "model", tmp_path / "delta", tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_copy_falls_back_to_memory_if_the_kernel_cannot_copy(
    model_dir: Path, delta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (expected,) = apply_delta(model_dir, delta, tmp_path / "kernel")

    def refuse(*_: int) -> int:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(overlay.os, "copy_file_range", refuse)
    monkeypatch.setattr(overlay, "CHUNK_BYTES", 1000)
    (file,) = apply_delta(model_dir, delta, tmp_path / "memory")
    assert file.read_bytes() == expected.read_bytes()


def test_other_shards_and_their_index_are_copied(update: TensorUpdate, tmp_path: Path) -> None:
    """The edited tensor is in one shard; the rest of the encoder, in another."""
    tensors, folder = load_file(update.file), tmp_path / "model" / "text_encoder"
    folder.mkdir(parents=True)
    parts = {"a.safetensors": {TENSOR: tensors.pop(TENSOR)}, "b.safetensors": tensors}
    for name, part in parts.items():
        save_file(part, folder / name, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {tensor: name for name, part in parts.items() for tensor in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_bytes(update.file.with_name("config.json").read_bytes())
    write_delta([replace(update, file=folder / "a.safetensors")], tmp_path / "model", tmp_path / "delta")
    (file,) = apply_delta(tmp_path / "model", tmp_path / "delta", tmp_path / "out")
    assert file.name == "a.safetensors"
    edited = CLIPTextModel.from_pretrained(file.parent, dtype=update.base.dtype).state_dict()
    expected = {**load_file(update.file), TENSOR: update.edited}
    for name, tensor in expected.items():
        torch.testing.assert_close(edited[name], tensor, atol=0, rtol=0)


def single_file(update: TensorUpdate, folder: Path) -> Path:
    """Write a single-file checkpoint, whose tensor names differ from those of transformers."""
    file = folder / "v1-5.safetensors"
    folder.mkdir(parents=True)
    prefix = "cond_stage_model.transformer.text_model."
    save_file({prefix + name: tensor for name, tensor in load_file(update.file).items()}, file)
    return file


@pytest.mark.parametrize("out", ["patched.safetensors", ""])
def test_single_file_checkpoint_is_patched_under_any_name(update: TensorUpdate, tmp_path: Path, out: str) -> None:
    base = single_file(update, tmp_path / "model")
    stored = f"cond_stage_model.transformer.text_model.{TENSOR}"
    write_delta([replace(update, file=base, stored_name=stored)], base, tmp_path / "delta")
    renamed = base.rename(base.with_name("mine.safetensors"))
    (tmp_path / "out").mkdir()
    (file,) = apply_delta(renamed, tmp_path / "delta", tmp_path / "out" / out)
    assert file == tmp_path / "out" / (out or "mine.safetensors")
    before, after = load_file(renamed), load_file(file)
    assert [name for name in before if not torch.equal(before[name], after[name])] == [stored]
    torch.testing.assert_close(after[stored], update.edited, atol=0, rtol=0)


@pytest.mark.parametrize("link", [BASE, "text_encoder/config.json"])
def test_link_out_of_the_model_is_rejected(model_dir: Path, delta: Path, tmp_path: Path, link: str) -> None:
    model = shutil.copytree(model_dir, tmp_path / "model")
    (model / link).unlink()
    (model / link).symlink_to(model_dir / link)
    with pytest.raises(EditorError, match="link out of the model"):
        apply_delta(model, delta, tmp_path / "edited")
    assert not [path for path in (tmp_path / "edited").rglob("*") if path.is_file()]


def test_base_file_is_never_overwritten(model_dir: Path, delta: Path) -> None:
    with pytest.raises(PublishingError, match="is the base file itself") as caught:
        apply_delta(model_dir, delta, model_dir)
    assert caught.value.field == "out"


def copy_with_flipped_bit(model_dir: Path, folder: Path, tensor: str) -> Path:
    """Copy the model with one bit of one tensor flipped."""
    base = model_dir / BASE
    content = bytearray(base.read_bytes())
    content[read_layout(base).spans[tensor].end - 1] ^= 1
    (folder / BASE).parent.mkdir(parents=True)
    (folder / BASE).write_bytes(content)
    return folder


def test_another_base_tensor_is_rejected_and_nothing_is_written(model_dir: Path, delta: Path, tmp_path: Path) -> None:
    other = copy_with_flipped_bit(model_dir, tmp_path / "other", TENSOR)
    with pytest.raises(PublishingError, match="is not the file that was edited"):
        apply_delta(other, delta, tmp_path / "edited")
    assert not (tmp_path / "edited").exists()


def test_verify_file_checks_the_unedited_tensors(model_dir: Path, delta: Path, tmp_path: Path) -> None:
    other = copy_with_flipped_bit(model_dir, tmp_path / "other", "final_layer_norm.weight")
    apply_delta(other, delta, tmp_path / "edited")
    with pytest.raises(PublishingError, match="is not the file that was edited"):
        apply_delta(other, delta, tmp_path / "checked", verify_file=True)
    assert not (tmp_path / "checked").exists()
    apply_delta(model_dir, delta, tmp_path / "checked", verify_file=True)


def test_verify_file_needs_a_delta_with_a_file_digest(model_dir: Path, update: TensorUpdate, tmp_path: Path) -> None:
    write_delta([update], model_dir, tmp_path / "delta")
    with pytest.raises(PublishingError, match="does not record a digest of the whole base file"):
        apply_delta(model_dir, tmp_path / "delta", tmp_path / "edited", verify_file=True)


def test_already_edited_base_is_rejected(model_dir: Path, delta: Path, tmp_path: Path) -> None:
    apply_delta(model_dir, delta, tmp_path / "once")
    with pytest.raises(PublishingError, match="is not the file that was edited"):
        apply_delta(tmp_path / "once", delta, tmp_path / "twice")


@pytest.mark.parametrize(
    "change",
    [
        {"stored_name": "nowhere", "name": "text_model.nowhere"},
        {"stored_name": "nowhere", "component": "text_encoder_2"},
        {"base": torch.zeros(16, 32), "up": torch.zeros(16, 3, dtype=torch.float64)},
        {"base": torch.zeros(32, 32, dtype=torch.float64)},
    ],
)
def test_tensor_that_does_not_match_the_base_is_rejected(
    model_dir: Path, update: TensorUpdate, tmp_path: Path, change: dict[str, Any]
) -> None:
    write_delta([replace(update, **change)], model_dir, tmp_path / "delta")
    with pytest.raises(PublishingError, match=r"has no te(nsor|xt_encoder_2)"):
        apply_delta(model_dir, tmp_path / "delta", tmp_path / "edited")


def write_delta_with_header(header: dict[str, Any], path: Path) -> Path:
    """Write a delta with an arbitrary header."""
    save_file({delta_key(BASE, "a"): torch.zeros(1)}, path, metadata={"expunge": json.dumps(header)})
    return path


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "text_encoder/../../x", "", "a\0b"])
def test_delta_with_a_path_outside_the_model_is_rejected(tmp_path: Path, name: str) -> None:
    original = {"component": "text_encoder", "name": "a", "sha256": "0" * 64}
    files = {name: {"sha256": None, "tensors": {"a": original}}}
    delta = write_delta_with_header({"format": "expunge-delta/2", "request": "", "files": files}, tmp_path / "delta")
    with pytest.raises(PublishingError, match="is not a delta"):
        apply_delta(tmp_path, delta, tmp_path / "edited")


@pytest.mark.parametrize("files", [{}, {BASE: {"sha256": None, "tensors": {}}}])
def test_delta_without_its_listed_tensors_is_rejected(tmp_path: Path, files: dict[str, Any]) -> None:
    delta = write_delta_with_header({"format": "expunge-delta/2", "request": "", "files": files}, tmp_path / "delta")
    with pytest.raises(PublishingError, match="does not contain the tensors that its header lists"):
        apply_delta(tmp_path, delta, tmp_path / "edited")


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0[]", b'\x09\0\0\0\0\0\0\0{"a": {}}'])
def test_damaged_delta_is_rejected(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "delta").write_bytes(content)
    with pytest.raises(PublishingError):
        apply_delta(tmp_path, tmp_path / "delta", tmp_path / "edited")


def test_truncated_delta_is_rejected(model_dir: Path, delta: Path, tmp_path: Path) -> None:
    delta.write_bytes(delta.read_bytes()[:-1])
    with pytest.raises(PublishingError, match="is not a delta"):
        apply_delta(model_dir, delta, tmp_path / "edited")
    assert not (tmp_path / "edited").exists()


def test_base_truncated_during_the_copy_is_rejected(model_dir: Path, tmp_path: Path) -> None:
    size = (model_dir / BASE).stat().st_size
    segments = [Segment(source="base", start=0, end=size + 1)]
    with pytest.raises(PublishingError, match="is truncated"), open_atomic(tmp_path / "full") as file:
        overlay.write_segments(segments, model_dir / BASE, model_dir / BASE, file)
    assert not (tmp_path / "full").exists()


def test_error_during_a_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), open_atomic(path) as file:
        file.writelines([b"new, by half", "no bytes"])  # type: ignore[list-item]
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"old")]


def test_process_killed_during_a_write_leaves_no_partial_file(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from editor.publishing.apply import apply_delta
from editor.io.atomic import open_atomic
with open_atomic(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "file"], check=False)
    assert done.returncode == -9
    assert not (tmp_path / "file").exists()
