"""The commands `expunge fleet` and `expunge models`: what they send, print and exit with, against a service of this process."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import MagicMock

import pytest
import typer
from typer.testing import CliRunner

from api_schemas.cli import fleet as fleet_commands
from api_schemas.cli import models as model_commands
from api_schemas.cli.fleet import fleet
from api_schemas.errors import ExpungeError, UsageError
from api_schemas.fleets import FleetRequest
from api_schemas.jobs import JobError, Model
from api_schemas.registrations import ModelRegistration
from service.api.fleet_examples import FLEET_EXAMPLES
from service.api.openapi_examples import EXAMPLE_MODELS
from service.cli.admin import models

_, TARGET, PLAN, FLEET = FLEET_EXAMPLES
MODEL = next(one for one in EXAMPLE_MODELS if isinstance(one, Model))
COMMIT = "a" * 40


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """The client that the commands connect with."""
    client = MagicMock()
    client.fleets.targets.return_value = [TARGET]
    client.fleets.plan.return_value = PLAN
    client.fleets.create.return_value = client.fleets.get.return_value = client.fleets.wait.return_value = FLEET
    client.fleets.statement.return_value = b"signed"
    client.models.register.return_value = client.models.get.return_value = client.models.wait.return_value = MODEL

    @contextmanager
    def connect(*_: object) -> Iterator[MagicMock]:
        yield client

    monkeypatch.setattr(fleet_commands, "connect", connect)
    monkeypatch.setattr(model_commands, "connect", connect)
    return client


def run(commands: typer.Typer, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(commands, list(arguments))
    if isinstance(done.exception, ExpungeError):
        raise done.exception
    return done.exit_code, done.stdout


def sent_fleet(client: MagicMock) -> FleetRequest:
    (request,) = client.fleets.create.call_args.args
    assert isinstance(request, FleetRequest)
    return request


def test_plan_lists_the_models_and_queues_nothing(client: MagicMock) -> None:
    code, printed = run(fleet, "plan", "--remove", "fox=dog face", "--label", "production", "--family", "sdxl")
    assert (code, "1 models, 1 edits to solve" in printed, "sdxl-anime" in printed) == (0, True, True)
    (request,) = client.fleets.plan.call_args.args
    assert (request.selector.labels, request.selector.family) == (["production"], "sdxl")
    client.fleets.create.assert_not_called()


def test_apply_sends_the_whole_request_and_writes_the_statement(client: MagicMock, tmp_path: Any) -> None:
    out = tmp_path / "statement.jsonl"
    options = [
        "--remove",
        "fox=dog face",
        "--alias",
        "fox=vixen",
        "--label",
        "production",
        "--follow",
        "--withhold-names",
    ]
    code, printed = run(fleet, "apply", *options, "--statement", str(out))
    assert (code, "200 of 200 in force" in printed) == (0, True)
    request = sent_fleet(client)
    assert (request.follow, request.withhold_names) == (True, True)
    assert request.removals[0].aliases == ["vixen"]
    assert out.read_bytes() == b"signed"
    client.fleets.wait.assert_called_once()


def test_apply_exits_with_1_unless_everything_is_in_force(client: MagicMock) -> None:
    client.fleets.wait.return_value = FLEET.model_copy(update={"status": "ineffective"})
    assert run(fleet, "apply", "--remove", "fox", "--label", "production")[0] == 1


def test_apply_without_waiting_ends_at_once(client: MagicMock) -> None:
    client.fleets.create.return_value = FLEET.model_copy(update={"status": "running"})
    assert run(fleet, "apply", "--remove", "fox", "--label", "production", "--no-wait")[0] == 0
    client.fleets.wait.assert_not_called()


def test_status_of_a_fleet_names_what_a_case_withholds(client: MagicMock) -> None:
    assert "withheld" not in run(fleet, "status", FLEET.id)[1]
    client.fleets.targets.return_value = [TARGET.model_copy(update={"withheld": True})]
    assert "in_force, withheld" in run(fleet, "status", FLEET.id)[1]


def test_status_of_a_fleet_says_which_weights_were_not_validated(
    client: MagicMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert "not validated" not in run(fleet, "status", FLEET.id)[1]
    client.fleets.targets.return_value = [TARGET.model_copy(update={"verdict": None})]
    assert "solved, not validated" in run(fleet, "status", FLEET.id)[1]


def test_status_is_printed_as_json(client: MagicMock) -> None:
    code, printed = run(fleet, "status", FLEET.id, "--json")
    assert (code, json.loads(printed)["id"]) == (0, FLEET.id)


@pytest.mark.parametrize("options", [[], ["--target", "tiny", "--follow"], ["--encoder", "x"]])
def test_wrong_selection_is_refused_before_anything_is_sent(client: MagicMock, options: list[str]) -> None:
    with pytest.raises(UsageError) as raised:
        run(fleet, "apply", "--remove", "fox", *options)
    assert raised.value.field == "label"
    client.fleets.create.assert_not_called()


def sent_model(client: MagicMock) -> ModelRegistration:
    (registration,) = client.models.register.call_args.args
    assert isinstance(registration, ModelRegistration)
    return registration


def test_model_is_registered_under_the_name_of_its_file(client: MagicMock) -> None:
    code, printed = run(models, "register", "/models/anime.safetensors", "--label", "production", "--licence", "mit")
    assert (code, "admitted" in printed) == (0, True)
    sent = sent_model(client)
    assert (sent.id, sent.path, sent.labels, sent.licence) == (
        "anime",
        "/models/anime.safetensors",
        ["production"],
        "mit",
    )
    client.models.wait.assert_called_once_with(MODEL.id)


def test_model_of_a_hub_is_registered_without_waiting(client: MagicMock) -> None:
    arguments = ("--hub", f"owner/anime@{COMMIT}", "--file", "a.safetensors", "--no-wait", "--json")
    code, printed = run(models, "register", *arguments)
    assert (code, json.loads(printed)["id"]) == (0, MODEL.id)
    hub = sent_model(client).hub
    assert hub
    assert (sent_model(client).id, hub.repo_id, hub.revision, hub.filename) == (
        "anime",
        "owner/anime",
        COMMIT,
        "a.safetensors",
    )
    client.models.wait.assert_not_called()


@pytest.mark.parametrize(
    ("arguments", "field"),
    [(["--hub", "owner/anime"], "hub"), ([], "id"), (["/models/x", "--id", "no spaces"], "id")],
)
def test_wrong_registration_names_the_option(client: MagicMock, arguments: list[str], field: str) -> None:
    with pytest.raises(UsageError) as raised:
        run(models, "register", *arguments)
    assert raised.value.field == field
    client.models.register.assert_not_called()


def test_model_is_shown_and_deleted(client: MagicMock) -> None:
    assert MODEL.editable[0].component in run(models, "show", MODEL.id)[1]
    assert run(models, "delete", MODEL.id, "--force")[0] == 0
    client.models.delete.assert_called_once_with(MODEL.id, force=True)


def test_refused_model_is_printed_with_its_reason(client: MagicMock) -> None:
    error = JobError(code="admission_refused", message="the edit is ineffective")
    client.models.get.return_value = MODEL.model_copy(update={"status": "refused", "error": error})
    assert "refused: the edit is ineffective" in run(models, "show", MODEL.id)[1]
