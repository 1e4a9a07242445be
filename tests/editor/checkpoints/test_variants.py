"""A folder with several variants of a text encoder: one is edited, and the others are named."""

import shutil
from pathlib import Path

import pytest
import torch
import typer
from safetensors.torch import load_file, save_file

from editor.checkpoints import OUT_PROJ, TextEncoder, open_checkpoint
from editor.cli.inspect import inspect
from editor.errors import CheckpointError
from editor.publishing.limitations import variant_limits

OUT = OUT_PROJ.format(layer=0)


@pytest.fixture
def plain(source: TextEncoder, tmp_path: Path) -> Path:
    """A pipeline folder with one set of weights."""
    shutil.copytree(source.file_of(OUT).parent, tmp_path / "text_encoder")
    return tmp_path


@pytest.fixture
def variants(plain: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same with two variants of the weights."""
    monkeypatch.setenv("EXPUNGE_VARIANT", "")
    tensors = load_file(plain / "text_encoder" / "model.safetensors")
    for name, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        stored = {key: one.to(dtype) if one.is_floating_point() else one for key, one in tensors.items()}
        save_file(stored, plain / "text_encoder" / f"model.{name}.safetensors")
    return plain


@pytest.mark.parametrize(("variant", "dtype"), [("", torch.float32), ("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_variant_is_chosen_and_the_others_are_named(
    variants: Path, monkeypatch: pytest.MonkeyPatch, variant: str, dtype: torch.dtype
) -> None:
    monkeypatch.setenv("EXPUNGE_VARIANT", variant)
    checkpoint = open_checkpoint(variants)
    assert checkpoint.encoders[0].tensor(OUT).dtype is dtype
    names = {f"text_encoder/model{suffix}.safetensors" for suffix in ("", ".bf16", ".fp16")}
    taken = f"text_encoder/model{f'.{variant}' if variant else ''}.safetensors"
    assert set(checkpoint.unedited_variants) == names - {taken}
    (sentence,) = variant_limits(checkpoint)
    assert f"changes {taken}." in sentence
    assert all(name in sentence for name in names)


def test_missing_variant_is_refused_with_those_that_exist(variants: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPUNGE_VARIANT", "fp8")
    with pytest.raises(CheckpointError, match=r"variant 'fp8'; it has model\.safetensors") as caught:
        open_checkpoint(variants)
    assert caught.value.field == "variant"


def test_model_without_variants_names_none(plain: Path) -> None:
    checkpoint = open_checkpoint(plain)
    assert checkpoint.unedited_variants == ()
    assert variant_limits(checkpoint) == []


def test_option_chooses_the_variant(variants: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer()
    app.command()(inspect)
    app([str(variants), "--variant", "fp16"], standalone_mode=False)
    shown = capsys.readouterr().out
    assert "in text_encoder/model.fp16.safetensors" in shown
    assert "variant   text_encoder/model.safetensors" in shown
