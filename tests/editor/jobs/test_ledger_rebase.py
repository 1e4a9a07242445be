"""Rebasing a ledger: the delta is reused for equal encoders, and everything is solved again for others."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from api_schemas.cli.main import root
from editor.checkpoints import open_checkpoint
from editor.checkpoints.key_mapping import FIRST_LAYER
from editor.errors import LedgerError
from editor.jobs.ledger_rebase import Rebase, Rebased
from editor.jobs.ledger_release import Release
from editor.ledger import LedgerFolder
from editor.publishing.attestation.keys import KeyFolder
from tests.editor.cli.ledger_commands import run

WEIGHTS = Path("text_encoder") / "model.safetensors"
QUERIES = FIRST_LAYER + "self_attn.q_proj.weight"


@pytest.fixture(scope="module")
def held(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("held")
    options = ("--model-dir", model_dir, "--out", folder / "out", "--no-validate", "--delta-only")
    run("erase", "--remove", "fox=dog face", "--remove", "pizza=hot dog", "--ledger", folder / "ledger", *options)
    return folder


def scale_tensor(model_dir: Path, target: Path, name: str, factor: float) -> Path:
    """The model with one tensor scaled."""
    shutil.copytree(model_dir, target)
    tensors = load_file(target / WEIGHTS)
    tensors[name.removeprefix("text_model.")] *= factor
    save_file(tensors, target / WEIGHTS, metadata={"format": "pt"})
    return target


def carry(held: Path, onto: Path, out: Path, original: Path | None = None) -> Rebased:
    to = Release("onto", open_checkpoint(onto), out, LedgerFolder(held / "ledger").read().active[0].since)  # type: ignore[arg-type]
    return Rebase(LedgerFolder(held / "ledger"), to).run(open_checkpoint(original) if original else None)


def test_delta_is_reused_if_the_edited_tensors_are_unchanged(held: Path, model_dir: Path, tmp_path: Path) -> None:
    later = FIRST_LAYER.replace(".0.", ".2.") + "mlp.fc1.weight"
    onto = scale_tensor(model_dir, tmp_path / "onto", later, 2.0)
    done = carry(held, onto, tmp_path / "out")
    assert done.reused
    assert (tmp_path / "out" / "delta.safetensors").read_bytes() == (held / "out" / "delta.safetensors").read_bytes()
    edited, delta = (load_file(tmp_path / "out" / name) for name in (WEIGHTS, "delta.safetensors"))
    ((name, tensor),) = delta.items()
    assert torch.equal(edited[name.partition(":")[2]], tensor)
    assert torch.equal(
        edited[later.removeprefix("text_model.")], load_file(onto / WEIGHTS)[later.removeprefix("text_model.")]
    )
    assert LedgerFolder(done.ledger).read() == LedgerFolder(held / "ledger").read()


def test_changed_encoder_is_solved_again_and_its_differences_are_listed(
    held: Path, model_dir: Path, tmp_path: Path
) -> None:
    onto = scale_tensor(model_dir, tmp_path / "onto", QUERIES, 1.5)
    done = carry(held, onto, tmp_path / "out", model_dir)
    assert not done.reused
    (encoder,) = done.encoders
    (difference,) = encoder.differences
    assert (encoder.component, difference.tensor, difference.status) == ("text_encoder", QUERIES, "changed")
    assert difference.relative == pytest.approx(0.5)
    assert {one.concept for one in done.removals} == {"fox", "pizza"}
    assert all(one.before is not None and one.after is not None and one.before != one.after for one in done.removals)
    carried = LedgerFolder(done.ledger)
    assert (
        carried.read_for(open_checkpoint(onto)).by_digest.keys()
        == LedgerFolder(held / "ledger").read().by_digest.keys()
    )
    assert (tmp_path / "out" / "delta.safetensors").read_bytes() == carried.delta.read_bytes()


def test_rebased_ledger_gives_the_same_bytes_as_a_new_one(held: Path, model_dir: Path, tmp_path: Path) -> None:
    onto = scale_tensor(model_dir, tmp_path / "onto", QUERIES, 1.5)
    carry(held, onto, tmp_path / "carried", model_dir)
    options = ("--model-dir", onto, "--out", tmp_path / "begun", "--no-validate", "--delta-only")
    run("erase", "--remove", "pizza=hot dog", "--remove", "fox=dog face", "--ledger", tmp_path / "ledger", *options)
    carried, begun = ((tmp_path / name / "delta.safetensors").read_bytes() for name in ("carried", "begun"))
    assert carried == begun


def test_signed_rebase_verifies(held: Path, model_dir: Path, tmp_path: Path) -> None:
    """The new ledger is in the output folder, and is not signed."""
    onto, keys = scale_tensor(model_dir, tmp_path / "onto", QUERIES, 1.5), tmp_path / "keys"
    KeyFolder(keys).create(datetime.now(UTC))
    where = ("--onto", onto, "--model-dir", model_dir, "--out", tmp_path / "out")
    assert not run("rebase", held / "ledger", *where, "--sign-with", keys)["reused"]
    found = run("verify", tmp_path / "out", "--keys", keys / "keys.json", "--base", onto)
    assert found["ok"], found


@pytest.mark.parametrize("damage", [b"", b"not a delta"])
def test_missing_delta_is_solved_again_to_the_same_bytes(
    damage: bytes, held: Path, model_dir: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(held, tmp_path / "held")
    kept = LedgerFolder(copy / "ledger").delta
    kept.write_bytes(damage) if damage else kept.unlink()
    done = carry(copy, model_dir, tmp_path / "out")
    assert (done.reused, done.encoders) == (False, [])
    assert (tmp_path / "out" / "delta.safetensors").read_bytes() == (held / "out" / "delta.safetensors").read_bytes()


@pytest.mark.parametrize("original", [False, True])
def test_different_encoder_requires_the_original_model(
    original: bool, held: Path, model_dir: Path, tmp_path: Path
) -> None:
    onto = scale_tensor(model_dir, tmp_path / "onto", QUERIES, 1.5)
    with pytest.raises(LedgerError, match="own base model"):
        carry(held, onto, tmp_path / "out", onto if original else None)
    assert not (tmp_path / "out").exists()


def test_existing_ledger_at_the_target_is_not_overwritten(held: Path, model_dir: Path, tmp_path: Path) -> None:
    carry(held, model_dir, tmp_path)
    with pytest.raises(LedgerError, match="already contains a ledger"):
        carry(held, model_dir, tmp_path)


def test_rebase_of_an_empty_ledger_writes_no_files(held: Path, model_dir: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(held, tmp_path / "held")
    run("revoke", copy / "ledger", "fox", "pizza", "--model-dir", model_dir, "--out", tmp_path / "none")
    onto = scale_tensor(model_dir, tmp_path / "onto", QUERIES, 1.5)
    assert (
        run("rebase", copy / "ledger", "--onto", onto, "--model-dir", model_dir, "--out", tmp_path / "out")["files"]
        == []
    )
    assert len(LedgerFolder(tmp_path / "out" / "ledger").read().revoked) == 2


def test_printed_rebase_shows_the_differences(held: Path, model_dir: Path, tmp_path: Path) -> None:
    onto = scale_tensor(model_dir, tmp_path / "onto", QUERIES, 1.5)
    arguments: list[Any] = [
        "rebase",
        held / "ledger",
        "--onto",
        onto,
        "--model-dir",
        model_dir,
        "--out",
        tmp_path / "out",
    ]
    shown = CliRunner().invoke(root, [*map(str, arguments), "--delta-only"]).stdout
    assert "relative 0.5" in shown
    assert "left before" in shown
    assert json.loads((tmp_path / "out" / "report.json").read_text())["ledger"]["active"] == 2
