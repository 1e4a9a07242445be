"""Log lines: JSON objects with ids and without concepts."""

import json
import logging
import sys
import warnings
from urllib.parse import unquote

import pytest

from service.store import logs
from service.store.settings import StoreSettings

pytestmark = pytest.mark.usefixtures("own_logging")

CONCEPT = "the painter whose name is nobody's business"


def log_lines(capsys: pytest.CaptureFixture[str], **settings: object) -> list[str]:
    """Return the log lines of a crash."""
    logs.configure(StoreSettings.model_validate(settings))
    with logs.bound_contextvars(job_id="edit_1"):
        try:
            raise ValueError(CONCEPT)
        except ValueError:
            logging.getLogger("worker.runner").exception("%s: attempt %d crashed", "edit_1", 2)
    logging.getLogger("service").warning("outside")
    return capsys.readouterr().err.splitlines()


def test_json_log_line_has_its_ids(capsys: pytest.CaptureFixture[str]) -> None:
    crash, outside = (json.loads(line) for line in log_lines(capsys, log_format="json"))
    assert (crash["event"], crash["job_id"], crash["level"]) == ("edit_1: attempt 2 crashed", "edit_1", "error")
    assert "test_logs.py" in crash["exception"]
    assert crash["exception"].endswith("ValueError")
    assert "job_id" not in outside


def test_printed_lines_and_warnings_are_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("stdout", "stderr", "excepthook"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    logs.configure_process(StoreSettings(log_format="json"))
    sys.stderr.write("first\nsecond \r\n")
    sys.stdout.write("unfinished")
    warnings.warn("deprecated", stacklevel=1)
    sys.excepthook(ValueError, ValueError(CONCEPT), None)
    logging.captureWarnings(False)
    first, second, warning, crash = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["event"], second["event"]) == ("first", "second")
    assert (warning["logger"], crash["logger"]) == ("py.warnings", "crash")
    assert crash["exception"] == "ValueError"


def test_extra_fields_are_in_the_event(capsys: pytest.CaptureFixture[str]) -> None:
    for form in ("json", "text"):
        logs.configure(StoreSettings(log_format=form))
        logging.getLogger("service").info("GET /", extra={"client": "::1\nforged"})
    as_json, as_text = capsys.readouterr().err.splitlines()
    assert json.loads(as_json)["client"] == "::1\nforged"
    assert "client=" in as_text


@pytest.mark.parametrize("form", ["text", "json"])
def test_concepts_are_logged_only_if_allowed(capsys: pytest.CaptureFixture[str], form: str) -> None:
    assert CONCEPT not in "\n".join(log_lines(capsys, log_format=form))
    assert CONCEPT in "\n".join(log_lines(capsys, log_format=form, log_concepts=True))


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    "path", ["/v1/a%0A2026 [error] forged", "/%0d%0a", "/%1b[2J", "/%e2%80%a8forged", "/%c2%85forged"]
)
def test_path_cannot_forge_a_log_line(capsys: pytest.CaptureFixture[str], form: str, path: str) -> None:
    logs.configure(StoreSettings(log_format=form))  # type: ignore[arg-type]
    logging.getLogger("service").info("%s %s %d", "GET", unquote(path), 404)
    written = capsys.readouterr().err
    assert written.count("\n") == len(written.splitlines()) == 1
    assert written[:-1].isprintable()
