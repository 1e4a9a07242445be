"""Edited files of true width in every precision and layout: read back by transformers, and by the reader of base models."""

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
from tests.editor.publishing.test_lora import detached, edited_outputs, outputs, updates_of

TOLERANCES = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}
"""Of every output of the text encoder, whose values are of the size of 1; docs/how-to/publishing.md states them."""
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
        for u in updates_of("text_encoder", module)
    ]
    write_delta(updates, tmp_path / "base", tmp_path / "delta")
    (full,) = apply_delta(tmp_path / "base", tmp_path / "delta", tmp_path / "out")
    expected = stored | {update.stored_name: update.edited for update in updates}
    loaded = (CLIPTextModelWithProjection if pooled else CLIPTextModel).from_pretrained(full.parent, dtype=dtype).eval()
    assert {name: tensor.dtype for name, tensor in loaded.state_dict().items()} == dict.fromkeys(expected, dtype)
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, expected[name])
    exact = edited_outputs(module.float(), [detached(u, u.base.float()) for u in updates])
    for found, wanted in zip(outputs(loaded.float()), exact, strict=True):
        torch.testing.assert_close(found, wanted, atol=TOLERANCES[dtype], rtol=0)


def sd1(root: Path, dtype: torch.dtype) -> Path:
    inside = layouts.without_projection(layouts.planted("clip_l", IDS, dtype))
    rest = {"model.diffusion_model.input_blocks.0.0.weight": torch.randn(8, 8).to(dtype)}
    return layouts.write(root / "sd1.safetensors", layouts.behind("cond_stage_model.transformer.", inside) | rest)


def sd2(root: Path, dtype: torch.dtype) -> Path:
    inside = layouts.openclip(layouts.planted("clip_h", IDS, dtype))
    return layouts.write(root / "sd2.safetensors", layouts.behind("cond_stage_model.model.", inside))


def sdxl(root: Path, dtype: torch.dtype) -> Path:
    first = layouts.without_projection(layouts.planted("clip_l", IDS, dtype))
    second = layouts.openclip(layouts.planted("clip_g", IDS, dtype, seed=1))
    tensors = layouts.behind("conditioner.embedders.0.transformer.", first)
    return layouts.write(root / "sdxl.safetensors", tensors | layouts.behind("conditioner.embedders.1.model.", second))


def sd3(root: Path, dtype: torch.dtype) -> Path:
    tensors: Tensors = {}
    for number, (place, kind) in enumerate((("clip_l", "clip_l"), ("clip_g", "clip_g"))):
        inside = layouts.planted(kind, IDS, dtype, seed=number)
        tensors |= layouts.behind(f"text_encoders.{place}.transformer.", inside)
    return layouts.write(root / "sd3.safetensors", tensors)


def edits_of(checkpoint: Checkpoint) -> list[TensorUpdate]:
    """An update of the first layer of every text encoder."""
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
def test_a_single_file_is_patched_in_nothing_but_the_edited_tensors(
    make: Callable[[Path, torch.dtype], Path], dtype: torch.dtype, encoders: int, tmp_path: Path
) -> None:
    base = make(tmp_path / "base", dtype)
    updates = edits_of(open_checkpoint(base))
    assert len(updates) == encoders
    write_delta(updates, base, tmp_path / "delta")
    (patched,) = apply_delta(base, tmp_path / "delta", tmp_path / "patched.safetensors")
    again = open_checkpoint(patched)
    for update in updates:
        assert torch.equal(again.encoder(update.component).tensor(update.name), update.edited)
    assert differing(base, patched) == {update.stored_name for update in updates}


def differing(one: Path, other: Path) -> set[str]:
    """The tensors whose bytes differ; all else, the header included, is the same."""
    spans, contents = read_layout(one).spans, (one.read_bytes(), other.read_bytes())
    first = min(span.start for span in spans.values())
    assert contents[0][:first] == contents[1][:first]
    assert len(contents[0]) == len(contents[1])
    return {
        name for name, span in spans.items() if contents[0][span.start : span.end] != contents[1][span.start : span.end]
    }


def test_a_delta_of_a_folder_fits_a_single_file_with_the_same_tensors_and_back(tmp_path: Path) -> None:
    """The layouts differ, the tensors and so their digests do not."""
    single, folder = sd1(tmp_path / "single", torch.float16), tmp_path / "folder"
    tensors = layouts.flat(layouts.without_projection(layouts.planted("clip_l", IDS, torch.float16)))
    layouts.write(folder / "text_encoder" / "model.safetensors", tensors)
    (folder / "text_encoder" / "config.json").write_text(json.dumps(layouts.config("clip_l")))
    index = {"_class_name": "StableDiffusionPipeline", "text_encoder": ["transformers", "CLIPTextModel"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    for made_for, applied_to, out in ((folder, single, "a.safetensors"), (single, folder, "b")):
        (update,) = edits_of(open_checkpoint(made_for))
        write_delta([update], made_for, tmp_path / f"delta-{out}")
        (file,) = apply_delta(applied_to, tmp_path / f"delta-{out}", tmp_path / out)
        edited = open_checkpoint(file if applied_to == single else file.parent).encoders[0]
        assert torch.equal(edited.tensor(update.name), update.edited)
        with pytest.raises(PublishingError, match="does not record a digest of the whole base file"):
            apply_delta(applied_to, tmp_path / f"delta-{out}", tmp_path / "other", verify_file=True)


def test_another_precision_in_another_layout_is_refused(tmp_path: Path) -> None:
    single, other = sd1(tmp_path / "half", torch.float16), sd1(tmp_path / "full", torch.float32)
    write_delta(edits_of(open_checkpoint(single)), single, tmp_path / "delta")
    with pytest.raises(PublishingError, match="has no tensor"):
        apply_delta(other, tmp_path / "delta", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()
