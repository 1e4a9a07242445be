"""The output of other programs becomes JSON lines, without waiting for it."""

import json
import os
from pathlib import Path

from service.launcher.line_copier import LineCopier


def test_each_line_becomes_an_object(tmp_path: Path) -> None:
    read, write = os.pipe()
    copier, log = LineCopier(os.fdopen(read, "rb"), tmp_path / "log", "broker"), tmp_path / "log"

    def logged() -> list[dict[str, str]]:
        copier.copy()
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    assert logged() == []
    os.write(write, b'started\n{"event": "own"}\n42\n\xff\nhal')
    first = logged()
    assert [event["event"] for event in first] == ["started", "own", "42", "\ufffd"]
    assert (first[0]["logger"], first[0]["level"]) == ("broker", "info")
    assert first[1] == {"event": "own"}
    os.write(write, b"f a line")
    assert len(logged()) == 4
    os.close(write)
    assert [event["event"] for event in logged()][4:] == ["half a line"]
    assert len(logged()) == 5


def test_long_output_is_not_lost(tmp_path: Path) -> None:
    read, write = os.pipe()
    copier = LineCopier(os.fdopen(read, "rb"), tmp_path / "log", "worker")
    for _ in range(3):
        os.write(write, b"x" * 1000 + b"\n")
        os.write(write, b"y" * 40_000 + b"\n")
        copier.copy()
    assert (tmp_path / "log").read_text().count("\n") == 6
    os.close(write)
