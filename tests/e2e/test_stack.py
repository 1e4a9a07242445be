"""End-to-end tests from submission to download, with a real broker, Celery worker and uvicorn."""

import hashlib
import json
import shlex
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
from service.cli.up import print_announcement
from service.launcher import broker
from tests.fakes.calibrator import FIGURES
from tests.fakes.stack import Stack, assert_all_ended, child_processes, command, environment, running_stack, wait_until


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack") / "data") as stack:
        yield stack


def expunge_edit(stack: Stack, out: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    options = ["--out", str(out), "--data-dir", str(stack.data_dir), "--model", "tiny", *arguments]
    return subprocess.run(command("edit", *options), env=environment(), capture_output=True, text=True, timeout=60)


def test_submit_follow_and_download(stack: Stack, tmp_path: Path) -> None:
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


def test_priority_decides_the_order(stack: Stack) -> None:
    """All three wait, and the least urgent was submitted first."""
    busy = stack.submit(slow="0.5")
    stack.wait_for_phase(busy, "trace")
    asked = [
        EditRequest(model="tiny", removals=[Removal(concept="fox")], priority=p) for p in ("low", "normal", "high")
    ]
    waiting = [stack.client.edits.create(request) for request in asked]
    ended = [edit.wait() for edit in waiting]
    assert sorted(ended, key=lambda edit: str(edit.started_at)) == ended[::-1]
    assert all(edit.metrics["queue_seconds"] > 0 and edit.metrics["run_seconds"] > 0 for edit in ended)


def test_edit_command(stack: Stack, tmp_path: Path) -> None:
    done = expunge_edit(stack, tmp_path, "--remove", "fox=dog face", "--remove", "style:ink=noto")
    assert done.returncode == 0, done.stderr
    assert "passed" in done.stdout
    assert str(tmp_path / "delta.safetensors") in done.stdout.splitlines()
    assert (tmp_path / "text_encoder" / "model.safetensors").exists()


def test_printed_example_command_works(stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The data folder and the port are not the defaults."""
    print_announcement(json.loads((stack.data_dir / "service.json").read_text()), json_output=False)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Try: ")]
    program, name, *arguments = shlex.split(line.removeprefix("Try: "))
    assert (program, name) == ("expunge", "edit")
    done = subprocess.run(
        command(name, *arguments), cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "fox-free" / "report.json").exists()


def test_calibrate_command(stack: Stack) -> None:
    options = ("tiny", "--objects", "20", "--data-dir", stack.data_dir, "--json")
    done = subprocess.run(command("calibrate", *options), env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["figures"] == [FIGURES.model_dump()]
    calibration = stack.client.models.get("tiny").calibration
    assert calibration
    assert calibration.model_dump(mode="json") == found
    (job,) = stack.client.models.calibrations("tiny")
    assert (job.status, job.request.objects) == ("succeeded", 20)


def test_edit_command_with_json_output(stack: Stack, tmp_path: Path) -> None:
    done = expunge_edit(stack, tmp_path, "--remove", "fox", "--no-validate", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["verdict"] is None
    assert result["edit"]["request"]["removals"][0]["concept"] == "fox"
    assert all(Path(path).exists() for path in result["files"])


def test_edit_command_without_full_weights(stack: Stack, tmp_path: Path) -> None:
    done = expunge_edit(stack, tmp_path, "--remove", "fox", "--delta-only")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "delta.safetensors").exists()
    assert not (tmp_path / "text_encoder").exists()


def test_edit_command_reports_invalid_fields(stack: Stack, tmp_path: Path) -> None:
    done = expunge_edit(stack, tmp_path, "--remove", "word " * 15)
    assert done.returncode == 2
    assert "removals[0].concept" in done.stderr
    assert "Traceback" not in done.stderr


def test_editor_error_fails_the_job_with_its_message(stack: Stack) -> None:
    with pytest.raises(JobFailed, match="out of reach") as caught:
        stack.submit(refuse="edit").wait()
    assert caught.value.field == "removals[0].concept"


def test_cancel_a_running_job(stack: Stack) -> None:
    edit = stack.submit(slow="30")
    stack.wait_for_phase(edit, "trace")
    assert stack.client.edits.cancel(edit.id).status == "canceling"
    wait_until(lambda: stack.client.edits.get(edit.id).status == "canceled", 10)


def test_job_that_ignores_cancellation_is_killed_and_the_worker_survives(tmp_path: Path) -> None:
    with running_stack(tmp_path / "data", EXPUNGE_CANCEL_GRACE_SECONDS="1") as stack:
        deaf = stack.submit(slow="30", deaf="yes")
        stack.wait_for_phase(deaf, "trace")
        stack.client.edits.cancel(deaf.id)
        wait_until(lambda: stack.client.edits.get(deaf.id).status == "canceled", 15)
        assert stack.submit().wait().status == "succeeded"
        assert stack.client.edits.get(deaf.id).status == "canceled"


def test_second_instance_is_refused(stack: Stack) -> None:
    second = command("up", "--data-dir", stack.data_dir, "--port", "0")
    done = subprocess.run(second, env=environment(), capture_output=True, text=True, timeout=30)
    assert done.returncode == 3
    assert "Another `expunge up`" in done.stderr


def test_occupied_port_is_rejected(stack: Stack, tmp_path: Path) -> None:
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


def test_data_folder_is_private(stack: Stack) -> None:
    for path in (stack.data_dir, stack.data_dir / "api-key", stack.data_dir / "service.json"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    assert httpx.get(f"{stack.url}/v1/edits").status_code == 401
    assert httpx.get(f"{stack.url}/readyz").json()["status"] == "ok"


def test_json_logs_and_private_files(tmp_path: Path) -> None:
    """The operator made the folder, which others can read; a file of an earlier version is in it."""
    (logs := tmp_path / "data" / "logs").mkdir(parents=True)
    (logs / "api.log").touch()
    for path, mode in ((logs.parent, 0o755), (logs, 0o755), (logs / "api.log", 0o644)):
        path.chmod(mode)
    with running_stack(tmp_path / "data", EXPUNGE_LOG_FORMAT="json", EXPUNGE_QUICK_WORKER="true") as stack:
        edit = stack.submit().wait()
        wait_until(lambda: "ready" in (logs / "quick-worker.log").read_text())
        files = [path for path in stack.data_dir.rglob("*") if not path.is_symlink()]
        assert {f"{path.relative_to(stack.data_dir)} {path.stat().st_mode & 0o077:o}" for path in files} == {
            f"{path.relative_to(stack.data_dir)} 0" for path in files
        }
    events = {path.stem: [json.loads(line) for line in path.read_text().splitlines()] for path in logs.glob("*.log")}
    assert events.keys() == {"api", "broker", "dispatcher", "quick-worker", "worker"}
    assert all({"event", "level", "timestamp"} <= event.keys() for part in events.values() for event in part)
    assert "Ready to accept connections" in str(events["broker"])
    (created,) = [event for event in events["api"] if event["event"].startswith("POST /v1/edits 202")]
    assert (created["tenant"], created["client"]) == ("default", "127.0.0.1")
    assert created["key_id"]
    assert created["request_id"]
    nodes = {
        event["event"] for part in ("worker", "quick-worker") for event in events[part] if " ready." in event["event"]
    }
    assert len(nodes) == 2
    assert edit.status == "succeeded"


def read_stream(stack: Stack, path: str, lines: list[str]) -> None:
    with httpx.stream("GET", stack.url + path, headers=stack.authorization, timeout=60) as response:
        for line in response.iter_lines():
            lines.append(line)


def test_restart_ends_streams_and_keeps_data(tmp_path: Path) -> None:
    """Use a folder whose path is too long for the broker's socket."""
    data_dir = tmp_path / ("deep" * 30) / "data"
    data_dir.parent.mkdir(parents=True)
    with running_stack(data_dir) as stack:
        edit = stack.submit().wait()
        waiting = stack.submit(slow="60")
        stack.wait_for_phase(waiting, "trace")
        lines: list[str] = []
        reader = threading.Thread(target=read_stream, args=[stack, waiting.urls.stream, lines])
        reader.start()
        wait_until(lambda: lines)
        family = child_processes(stack.process)
        stack.process.terminate()
        assert stack.process.wait(25) == 0
        assert_all_ended(family)
        reader.join(5)
        assert not reader.is_alive()
    assert not (data_dir / "service.json").exists()
    with running_stack(data_dir) as stack:
        assert stack.client.edits.get(edit.id).model_dump() == edit.model_dump()
        wait_until(lambda: stack.client.edits.get(waiting.id).attempt == 2)
        stack.client.edits.cancel(waiting.id)


def test_configured_broker_is_used(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        socket = Path(folder) / "redis.sock"
        server = subprocess.Popen(
            broker.server_command(broker.find_server(), Path(folder), socket), stdout=subprocess.DEVNULL
        )
        try:
            broker.wait_until_ready(socket)
            with running_stack(tmp_path / "data", REDIS_URL=broker.socket_url(socket)) as stack:
                assert not stack.is_running("broker")
                assert stack.submit().wait().verdict == "passed"
        finally:
            server.kill()
            server.wait()
