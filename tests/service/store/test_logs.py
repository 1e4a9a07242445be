"""Log lines: JSON objects with ids and without concepts."""

import json
import logging
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
