"""Edited files of the true width in every precision and layout, read back by transformers and by ``open_checkpoint``."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from editor.checkpoints import OUT_PROJ, Checkpoint, open_checkpoint
from editor.checkpoints.safetensors_header import read_layout
from editor.checkpoints.tensor_update import TensorUpdate
from editor.errors import PublishingError
from editor.publishing.apply import apply_delta
from editor.publishing.delta import write_delta
from tests.editor.checkpoints import layouts
from tests.editor.publishing.pipelines import encoder
from tests.editor.publishing.test_lora import edited_outputs, outputs, random_updates, with_cloned_base

TOLERANCES = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}
"""Absolute tolerance of every output of the text encoder, whose values are about 1; docs/how-to/publishing.md states them."""
IDS = torch.arange(4)
Tensors = dict[str, Tensor]


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(("size", "pooled"), [("l", False), ("l", True), ("h", False), ("g", True)])
def test_transformers_loads_the_edited_encoder(size: str, pooled: bool, dtype: torch.dtype, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, folder = encoder(size, 2, pooled=pooled).to(dtype), tmp_path / "base" / "text_encoder"
    module.save_pretrained(folder)
    stored = load_file(folder / "model.safetensors")
    updates = [
        replace(u, file=folder / "model.safetensors", base=stored[u.stored_name])
        for u in random_updates("text_encoder", module)
    ]
    write_delta(updates, tmp_path / "base", tmp_path / "delta")
    (full,) = apply_delta(tmp_path / "base", tmp_path / "delta", tmp_path / "out")
    expected = stored | {update.stored_name: update.edited for update in updates}
    loaded = (CLIPTextModelWithProjection if pooled else CLIPTextModel).from_pretrained(full.parent, dtype=dtype).eval()
    assert {name: tensor.dtype for name, tensor in loaded.state_dict().items()} == dict.fromkeys(expected, dtype)
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, expected[name])
    exact = edited_outputs(module.float(), [with_cloned_base(u, u.base.float()) for u in updates])
    for found, wanted in zip(outputs(loaded.float()), exact, strict=True):
        torch.testing.assert_close(found, wanted, atol=TOLERANCES[dtype], rtol=0)


def sd1(root: Path, dtype: torch.dtype) -> Path:
    inside = layouts.without_projection(layouts.random_encoder("clip_l", IDS, dtype))
    rest = {"model.diffusion_model.input_blocks.0.0.weight": torch.randn(8, 8).to(dtype)}
    return layouts.write_safetensors(
        root / "sd1.safetensors", layouts.add_prefix("cond_stage_model.transformer.", inside) | rest
    )


def sd2(root: Path, dtype: torch.dtype) -> Path:
    inside = layouts.to_openclip(layouts.random_encoder("clip_h", IDS, dtype))
    return layouts.write_safetensors(root / "sd2.safetensors", layouts.add_prefix("cond_stage_model.model.", inside))


def sdxl(root: Path, dtype: torch.dtype) -> Path:
    first = layouts.without_projection(layouts.random_encoder("clip_l", IDS, dtype))
    second = layouts.to_openclip(layouts.random_encoder("clip_g", IDS, dtype, seed=1))
    tensors = layouts.add_prefix("conditioner.embedders.0.transformer.", first)
    return layouts.write_safetensors(
        root / "sdxl.safetensors", tensors | layouts.add_prefix("conditioner.embedders.1.model.", second)
    )


def sd3(root: Path, dtype: torch.dtype) -> Path:
    tensors: Tensors = {}
    for number, (place, kind) in enumerate((("clip_l", "clip_l"), ("clip_g", "clip_g"))):
        inside = layouts.random_encoder(kind, IDS, dtype, seed=number)
        tensors |= layouts.add_prefix(f"text_encoders.{place}.transformer.", inside)
    return layouts.write_safetensors(root / "sd3.safetensors", tensors)


def random_edits(checkpoint: Checkpoint) -> list[TensorUpdate]:
    """Return a random update of the first layer of every text encoder."""
    name, updates = OUT_PROJ.format(layer=0), []
    for seed, part in enumerate(checkpoint.encoders):
        generator = torch.Generator().manual_seed(seed)
        up, down = (torch.randn(part.width, 3, generator=generator, dtype=torch.float64) * 0.1 for _ in range(2))
        stored, base = part.stored_name(name), part.tensor(name)
        updates.append(TensorUpdate(part.component, name, stored, part.file_of(name), base, up, down.T))
    return updates


@pytest.mark.parametrize(
    ("make", "dtype", "encoders"),
    [(sd1, torch.float32, 1), (sd2, torch.float16, 1), (sdxl, torch.bfloat16, 2), (sd3, torch.float16, 2)],
)
def test_only_the_edited_tensors_of_a_single_file_change(
    make: Callable[[Path, torch.dtype], Path], dtype: torch.dtype, encoders: int, tmp_path: Path
) -> None:
    base = make(tmp_path / "base", dtype)
    updates = random_edits(open_checkpoint(base))
    assert len(updates) == encoders
    write_delta(updates, base, tmp_path / "delta")
    (patched,) = apply_delta(base, tmp_path / "delta", tmp_path / "patched.safetensors")
    again = open_checkpoint(patched)
    for update in updates:
        assert torch.equal(again.encoder(update.component).tensor(update.name), update.edited)
    assert changed_tensors(base, patched) == {update.stored_name for update in updates}


def changed_tensors(one: Path, other: Path) -> set[str]:
    """Return the tensors whose bytes differ. Checks that the headers are equal."""
    spans, contents = read_layout(one).spans, (one.read_bytes(), other.read_bytes())
    first = min(span.start for span in spans.values())
    assert contents[0][:first] == contents[1][:first]
    assert len(contents[0]) == len(contents[1])
    return {
        name for name, span in spans.items() if contents[0][span.start : span.end] != contents[1][span.start : span.end]
    }


def test_delta_applies_across_layouts_with_the_same_tensors(tmp_path: Path) -> None:
    """The layouts differ, but the tensors and their digests are the same."""
    single, folder = sd1(tmp_path / "single", torch.float16), tmp_path / "folder"
    tensors = layouts.remove_prefix(layouts.without_projection(layouts.random_encoder("clip_l", IDS, torch.float16)))
    layouts.write_safetensors(folder / "text_encoder" / "model.safetensors", tensors)
    (folder / "text_encoder" / "config.json").write_text(json.dumps(layouts.encoder_config("clip_l")))
    index = {"_class_name": "StableDiffusionPipeline", "text_encoder": ["transformers", "CLIPTextModel"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    for made_for, applied_to, out in ((folder, single, "a.safetensors"), (single, folder, "b")):
        (update,) = random_edits(open_checkpoint(made_for))
        write_delta([update], made_for, tmp_path / f"delta-{out}")
        (file,) = apply_delta(applied_to, tmp_path / f"delta-{out}", tmp_path / out)
        edited = open_checkpoint(file if applied_to == single else file.parent).encoders[0]
        assert torch.equal(edited.tensor(update.name), update.edited)
        with pytest.raises(PublishingError, match="does not record a digest of the whole base file"):
            apply_delta(applied_to, tmp_path / f"delta-{out}", tmp_path / "other", verify_file=True)


def test_delta_of_another_precision_is_rejected(tmp_path: Path) -> None:
    single, other = sd1(tmp_path / "half", torch.float16), sd1(tmp_path / "full", torch.float32)
    write_delta(random_edits(open_checkpoint(single)), single, tmp_path / "delta")
    with pytest.raises(PublishingError, match="has no tensor"):
        apply_delta(other, tmp_path / "delta", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()
