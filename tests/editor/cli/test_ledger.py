"""Ledgers at the command line, from the first removal to the last revocation, on a small encoder."""

import json
import re
import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from api_schemas.cli.main import root
from editor.checkpoints import open_checkpoint
from editor.errors import LedgerError
from editor.io.digests import file_digest
from editor.ledger import LedgerEntry, LedgerFolder
from editor.publishing.attestation.keys import KeyFolder
from editor.publishing.delta import read_header
from tests.editor.cli.ledger_commands import run

FOX = ("--remove", "fox=dog face", "--label", "T-1", "--preserve", "zeppelin")
PIZZA = ("--remove", "pizza=hot dog", "--label", "T-2", "--alias", "pizza=[b]margherita")


@pytest.fixture(scope="module")
def two(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fox removed, then a pizza: a folder with the ledger and what each request published."""
    folder = tmp_path_factory.mktemp("two")
    for out, options in (("fox", FOX), ("both", PIZZA)):
        erase(model_dir, folder / "ledger", folder / out, *options)
    return folder


@pytest.fixture
def held(two: Path, tmp_path: Path) -> Path:
    """A copy of its ledger."""
    return Path(shutil.copytree(two / "ledger", tmp_path / "ledger"))


def erase(model_dir: Path, ledger: Path, out: Path, *options: str) -> Any:
    where = ("--ledger", ledger, "--model-dir", model_dir, "--out", out)
    return run("erase", *options, *where, "--no-validate", "--delta-only")


def bytes_of(folder: Path) -> bytes:
    return (folder / "delta.safetensors").read_bytes()


def entry(concept: str) -> LedgerEntry:
    return LedgerEntry.model_validate({"removal": {"concept": concept}})


def report_of(folder: Path) -> Any:
    return json.loads((folder / "report.json").read_text())


def test_revocation_restores_the_bytes_of_the_previous_delta(
    two: Path, held: Path, model_dir: Path, tmp_path: Path
) -> None:
    assert [report_of(two / out)["ledger"]["active"] for out in ("fox", "both")] == [1, 2]
    assert bytes_of(two / "fox") != bytes_of(two / "both")
    done = run("revoke", held, "T-2", "--model-dir", model_dir, "--out", tmp_path / "after")
    assert bytes_of(tmp_path / "after") == bytes_of(two / "fox")
    report = report_of(tmp_path / "after")
    assert (done["digest"], done["active"]) == (report_of(two / "fox")["ledger"]["digest"], 1)
    assert (report["ledger"]["taken_back"], report["removals"]) == (["pizza"], [])
    weights = next(artifact for artifact in report["artifacts"] if artifact["kind"] == "weights")
    assert file_digest(tmp_path / "after" / weights["name"]) == weights["sha256"]
    assert done["files"][-1].endswith("report.json")


def test_signed_revocation_verifies(held: Path, model_dir: Path, tmp_path: Path) -> None:
    KeyFolder(tmp_path / "keys").create(datetime.now(UTC))
    where = ("--model-dir", model_dir, "--out", tmp_path / "after")
    run("revoke", held, "T-2", *where, "--sign-with", tmp_path / "keys")
    found = run("verify", tmp_path / "after", "--keys", tmp_path / "keys" / "keys.json", "--base", model_dir)
    assert found["ok"], found


def test_the_order_of_requests_does_not_matter(two: Path, model_dir: Path, tmp_path: Path) -> None:
    for out, options in (("pizza", PIZZA), ("again", FOX)):
        erase(model_dir, tmp_path / "other", tmp_path / out, *options)
    assert bytes_of(tmp_path / "again") == bytes_of(two / "both")


def test_revoking_every_removal_writes_no_files(held: Path, model_dir: Path, tmp_path: Path) -> None:
    done = run("revoke", held, "fox", "T-2", "--model-dir", model_dir, "--out", tmp_path / "after")
    assert (done["active"], done["files"]) == (0, [])
    assert not (tmp_path / "after").exists()
    assert not LedgerFolder(held).delta.exists()
    revoked = LedgerFolder(held).read().revoked
    assert [entry.removal.concept for entry in revoked] == ["fox", "pizza"]
    assert all(entry.until for entry in revoked)


def test_ledger_is_listed_as_table_and_json(two: Path, model_dir: Path) -> None:
    listed = run("ledger", two / "ledger")
    assert [(one["concept"], one["destination"], one["label"]) for one in listed["active"]] == [
        ("fox", "dog face", "T-1"),
        ("pizza", "hot dog", "T-2"),
    ]
    assert all(one["since"] and one["until"] is None for one in listed["active"])
    assert listed["digest"] == LedgerFolder(two / "ledger").read().digest
    shown = CliRunner().invoke(root, ["ledger", str(two / "ledger"), "--model-dir", str(model_dir)]).stdout
    assert "2 active" in shown
    assert listed["active"][0]["digest"][:12] in shown
    assert "T-2" in shown


@pytest.mark.parametrize(("wish", "kind"), [("dog face=owl", "replacement_removed"), ("fox=owl", "two_replacements")])
def test_conflict_with_the_ledger_is_refused_and_names_both_removals(
    wish: str, kind: str, held: Path, model_dir: Path, tmp_path: Path
) -> None:
    """Also where both go by the same ticket number."""
    before = LedgerFolder(held).file.read_bytes()
    error = erase(model_dir, held, tmp_path / "no", "--remove", wish, "--label", "T-1")["error"]
    assert error["code"] == "ledger_conflict"
    (conflict,) = error["conflicts"]
    assert conflict["kind"] == kind
    assert {conflict[side]["label"].startswith("T-1 (") for side in ("left", "right")} == {True}
    assert conflict["left"]["label"] != conflict["right"]["label"]
    assert conflict["left"]["label"] in error["message"]
    assert conflict["right"]["label"] in error["message"]
    assert LedgerFolder(held).file.read_bytes() == before
    assert not (tmp_path / "no").exists()


def test_only_warnings_about_the_new_removals_are_reported(held: Path, model_dir: Path) -> None:
    folder, checkpoint = LedgerFolder(held), open_checkpoint(model_dir)
    hot_dog, guide, bear = (entry(name) for name in ("sheep dog", "guide dog", "bear"))
    held_before, _ = folder.preview_add(checkpoint, [hot_dog])
    folder.write(held_before)
    _, warnings = folder.preview_add(checkpoint, [guide])
    assert {(one.kind, one.severity) for one in warnings} == {("shared_token", "warning")}
    assert folder.preview_add(checkpoint, [bear])[1] == []


def test_report_does_not_name_removals_of_other_requests(two: Path) -> None:
    page = re.sub(r"base64,[^\"]*", "", (two / "both" / "report.html").read_text())
    for text in (page, (two / "both" / "report.json").read_text()):
        assert "pizza" in text
        assert "fox" not in text
        assert "zeppelin" not in text
    (solve,) = report_of(two / "both")["solves"]
    assert [told["concept"] for told in solve["feasibility"]] == ["pizza"]


def test_unsupported_sites_are_refused_before_the_trace(model_dir: Path, tmp_path: Path) -> None:
    options = ("--remove", "fox=owl", "--sites", "1", "--ledger", tmp_path / "new", "--model-dir", model_dir)
    assert run("erase", *options, "--no-validate", "--out", tmp_path / "no")["error"]["field"] == "options.sites"
    assert not (tmp_path / "new").exists()


def test_label_without_a_ledger_is_refused(tmp_path: Path) -> None:
    assert run("erase", *PIZZA, "--out", tmp_path)["error"]["field"] == "label"


def test_concurrent_change_of_the_ledger_prevents_delivery(model_dir: Path, tmp_path: Path) -> None:
    checkpoint, folder = open_checkpoint(model_dir), LedgerFolder(tmp_path)
    mine, theirs = entry("fox"), entry("owl")
    solved = folder.read_for(checkpoint).add([mine])
    folder.write(folder.read_for(checkpoint).add([theirs]))
    delivered = []
    with (
        pytest.raises(LedgerError, match="changed by another process"),
        folder.transaction(checkpoint, lambda ledger: ledger.add([mine]), solved, None),
    ):
        delivered.append("files")
    assert delivered == []
    assert folder.read().active == (theirs,)


def test_a_failed_delivery_leaves_the_ledger_as_it_was(model_dir: Path, tmp_path: Path) -> None:
    checkpoint, folder = open_checkpoint(model_dir), LedgerFolder(tmp_path)
    solved = folder.read_for(checkpoint).add([entry("fox")])
    with pytest.raises(OSError, match="disk full"), folder.transaction(checkpoint, lambda _: solved, solved, None):
        raise OSError("disk full")
    assert not folder.file.exists()


def test_concurrent_additions_lose_no_removal(model_dir: Path, tmp_path: Path) -> None:
    """One is in, the others hear of it: never silently overwritten."""
    folder, outcomes = LedgerFolder(tmp_path), dict[str, bool]()

    def add(name: str) -> None:
        checkpoint = open_checkpoint(model_dir)
        solved = folder.read_for(checkpoint).add([entry(name)])
        barrier.wait()
        try:
            with folder.transaction(checkpoint, lambda ledger: ledger.add([entry(name)]), solved, None):
                outcomes[name] = True
        except LedgerError:
            outcomes[name] = False

    names = ("fox", "owl", "bear")
    barrier = threading.Barrier(len(names))
    threads = [threading.Thread(target=add, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = {name for name, done in outcomes.items() if done}
    assert len(won) == 1
    assert {entry.removal.concept for entry in folder.read().active} == won


def test_stored_delta_belongs_to_the_current_ledger(two: Path) -> None:
    folder = LedgerFolder(two / "ledger")
    assert folder.delta.read_bytes() == bytes_of(two / "both")
    assert read_header(folder.delta).request == folder.read().digest


@pytest.mark.parametrize("command", ["ledger", "revoke"])
def test_a_folder_without_a_ledger_is_refused(command: str, tmp_path: Path, model_dir: Path) -> None:
    more = ["fox", "--model-dir", model_dir, "--out", tmp_path / "out"] if command == "revoke" else []
    assert run(command, tmp_path, *more)["error"]["code"] == "ledger_refused"
