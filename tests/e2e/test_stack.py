"""The whole way: HTTP, queue, worker, artifacts, download. Real broker, real Celery worker, real uvicorn."""

import hashlib
import json
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api_schemas.edits import EditRequest, Removal
from api_schemas.errors import JobFailed
from api_schemas.events import Event
from service.launcher import broker
from tests.fakes.stack import Stack, assert_gone, command, environment, eventually, family_of, running


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("stack") / "data") as stack:
        yield stack


def expunge_edit(stack: Stack, out: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    options = ["--out", str(out), "--data-dir", str(stack.data_dir), "--model", "tiny", *arguments]
    return subprocess.run(command("edit", *options), env=environment(), capture_output=True, text=True, timeout=60)


def test_a_job_from_submission_to_download(stack: Stack, tmp_path: Path) -> None:
    events: list[Event] = []
    edit = stack.submit().wait(events.append)
    assert (edit.status, edit.verdict, edit.attempt) == ("succeeded", "passed", 1)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.message for event in events if event.type == "phase"] == ["trace", "edit", "validate", "publish"]
    paths = edit.download(tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in paths} == {file.name for file in edit.artifacts}
    for file in edit.artifacts:
        assert hashlib.sha256((tmp_path / file.name).read_bytes()).hexdigest() == file.sha256
    assert edit.report().job_id == edit.id


def test_what_is_urgent_is_started_first(stack: Stack) -> None:
    """Both wait, and the other one has waited for longer."""
    busy = stack.submit(slow="0.5")
    stack.reach(busy, "trace")
    asked = [
        EditRequest(model="tiny", removals=[Removal(concept="fox")], priority=p) for p in ("low", "normal", "high")
    ]
    waiting = [stack.client.edits.create(request) for request in asked]
    ended = [edit.wait() for edit in waiting]
    assert sorted(ended, key=lambda edit: str(edit.started_at)) == ended[::-1]
    assert all(edit.metrics["queue_seconds"] > 0 and edit.metrics["run_seconds"] > 0 for edit in ended)


def test_the_command_line_does_the_same(stack: Stack, tmp_path: Path) -> None:
    done = expunge_edit(stack, tmp_path, "--remove", "fox=dog face", "--remove", "style:ink=noto")
    assert done.returncode == 0, done.stderr
    assert "passed" in done.stdout
    assert str(tmp_path / "delta.safetensors") in done.stdout.splitlines()
    assert (tmp_path / "text_encoder" / "model.safetensors").exists()


def test_the_command_line_in_json(stack: Stack, tmp_path: Path) -> None:
    done = expunge_edit(stack, tmp_path, "--remove", "fox", "--no-validate", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["verdict"] is None
    assert result["edit"]["request"]["removals"][0]["concept"] == "fox"
    assert all(Path(path).exists() for path in result["files"])


def test_the_command_line_leaves_full_weights_out_when_asked(stack: Stack, tmp_path: Path) -> None:
    done = expunge_edit(stack, tmp_path, "--remove", "fox", "--delta-only")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "delta.safetensors").exists()
    assert not (tmp_path / "text_encoder").exists()


def test_the_command_line_names_what_is_wrong(stack: Stack, tmp_path: Path) -> None:
    done = expunge_edit(stack, tmp_path, "--remove", "word " * 15)
    assert done.returncode == 2
    assert "removals[0].concept" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_the_editor_refuses_fails_with_its_reasons(stack: Stack) -> None:
    with pytest.raises(JobFailed, match="out of reach") as caught:
        stack.submit(refuse="edit").wait()
    assert caught.value.field == "removals[0].concept"


def test_a_running_job_stops_when_asked(stack: Stack) -> None:
    edit = stack.submit(slow="30")
    stack.reach(edit, "trace")
    assert stack.client.edits.cancel(edit.id).status == "canceling"
    eventually(lambda: stack.client.edits.get(edit.id).status == "canceled", 10)


def test_a_job_that_ignores_its_cancel_is_ended_and_the_worker_lives_on(tmp_path: Path) -> None:
    with running(tmp_path / "data", EXPUNGE_CANCEL_GRACE_SECONDS="1") as stack:
        deaf = stack.submit(slow="30", deaf="yes")
        stack.reach(deaf, "trace")
        stack.client.edits.cancel(deaf.id)
        eventually(lambda: stack.client.edits.get(deaf.id).status == "canceled", 15)
        assert stack.submit().wait().status == "succeeded"
        assert stack.client.edits.get(deaf.id).status == "canceled"


def test_second_instance_is_refused(stack: Stack) -> None:
    second = command("up", "--data-dir", stack.data_dir, "--port", "0")
    done = subprocess.run(second, env=environment(), capture_output=True, text=True, timeout=30)
    assert done.returncode == 3
    assert "Another `expunge up`" in done.stderr


def test_a_taken_port_is_refused(stack: Stack, tmp_path: Path) -> None:
    port = stack.url.rpartition(":")[2]
    done = subprocess.run(
        command("up", "--data-dir", tmp_path, "--port", port),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 3
    assert "--port" in done.stderr


def test_the_folder_is_private(stack: Stack) -> None:
    for path in (stack.data_dir, stack.data_dir / "api-key", stack.data_dir / "service.json"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    assert httpx.get(f"{stack.url}/v1/edits").status_code == 401
    assert httpx.get(f"{stack.url}/readyz").json()["status"] == "ok"


def read_stream(stack: Stack, path: str, lines: list[str]) -> None:
    with httpx.stream("GET", stack.url + path, headers=stack.authorization, timeout=60) as response:
        for line in response.iter_lines():
            lines.append(line)


def test_stopping_ends_open_streams_and_starting_again_finds_everything(tmp_path: Path) -> None:
    """In a folder so deep that the broker's socket cannot lie in it."""
    data_dir = tmp_path / ("deep" * 30) / "data"
    data_dir.parent.mkdir(parents=True)
    with running(data_dir) as stack:
        edit = stack.submit().wait()
        waiting = stack.submit(slow="60")
        stack.reach(waiting, "trace")
        lines: list[str] = []
        reader = threading.Thread(target=read_stream, args=[stack, waiting.urls.stream, lines])
        reader.start()
        eventually(lambda: lines)
        family = family_of(stack.process)
        stack.process.terminate()
        assert stack.process.wait(25) == 0
        assert_gone(family)
        reader.join(5)
        assert not reader.is_alive()
    assert not (data_dir / "service.json").exists()
    with running(data_dir) as stack:
        assert stack.client.edits.get(edit.id).model_dump() == edit.model_dump()
        eventually(lambda: stack.client.edits.get(waiting.id).attempt == 2)
        stack.client.edits.cancel(waiting.id)


def test_a_broker_that_is_given_is_used(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        socket = Path(folder) / "redis.sock"
        server = subprocess.Popen(
            broker.server_command(broker.find_server(), Path(folder), socket), stdout=subprocess.DEVNULL
        )
        try:
            broker.wait_until_ready(socket)
            with running(tmp_path / "data", REDIS_URL=broker.socket_url(socket)) as stack:
                assert not stack.is_running("broker")
                assert stack.submit().wait().verdict == "passed"
        finally:
            server.kill()
            server.wait()
