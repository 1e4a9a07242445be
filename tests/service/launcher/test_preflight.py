"""Every setting is checked before a process starts, and a bad value is named with the form that is expected."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from editor.generation.device import PARSERS as DEVICE_PARSERS
from service.launcher.preflight import check_settings
from service.launcher.settings import LauncherSettings
from service.settings import ServiceSettings
from service.store.errors import InvalidSettings
from service.store.setting_errors import variable_name
from tests.fakes.model import write_model
from tests.fakes.stack import command, environment
from worker.settings import WorkerSettings

FIELDS = ServiceSettings.model_fields | WorkerSettings.model_fields | LauncherSettings.model_fields
FREE_TEXT = ("data_dir",)
"""Fields that any text is valid for."""
SETTINGS = [variable_name(name) for name in FIELDS if name not in FREE_TEXT]
DEVICE = [variable_name(name) for name in DEVICE_PARSERS]
OTHERS = ["REDIS_URL", "EXPUNGE_SIGNING_KEY", "EXPUNGE_JUDGE", "EXPUNGE_POLICIES", *DEVICE]
BAD = {
    "EXPUNGE_DATABASE_URL": ["mysql://user:hunter2@host/name", "banana", "postgresql://user:hunter2@host:port/name"],
    "EXPUNGE_SECRETS_KEY": ["hunter2"],
    "EXPUNGE_BROKER_URL": ["http://user:hunter2@host", "redis://host:port", "redis+socket://"],
    "EXPUNGE_HUB_DIR": ["/nowhere/hub", "/dev/null"],
    "EXPUNGE_OIDC_CLIENT_ID": ["a b", "\u00e9"],
    "EXPUNGE_OIDC_CLIENT_SECRET": ["hunter2 hunter2"],
    "EXPUNGE_OIDC_GROUPS_CLAIM": ["", "my groups"],
    "EXPUNGE_OIDC_REDIRECT_URL": [
        "banana",
        "https://expunge.example",
        "http://expunge.example/sign-in/oidc/callback",
        "https://expunge.example/sign-in/oidc/callback?next=1",
    ],
    "EXPUNGE_SIGNING_DIR": ["/nowhere", "/dev/null"],
    "EXPUNGE_BLOBS_URL": ["ftp://x", "s3://", "s3:/bucket", "/a/folder"],
    "EXPUNGE_RETENTION_DAYS": ["-1", "1000000", "1.5"],
    "EXPUNGE_HARD_LIMIT_SECONDS": ["60", "1e30"],
    "EXPUNGE_LOG_CONCEPTS": ["maybe"],
    "EXPUNGE_MODELS": ["banana", "[]", '{"a b": "/nowhere"}', '{"sd15": "/nowhere"}', '{"sd15": 1}'],
    "EXPUNGE_MODELS_DIR": ["/nowhere", "/dev/null"],
    "EXPUNGE_RATE_LIMIT": ["banana", "0/minute", "5/minute;1/second", "5"],
    "EXPUNGE_PLAN_SECONDS": ["inf", "nan", "0"],
    "EXPUNGE_WEBHOOK_ALLOWED_HOSTS": [
        "127.0.0.1",
        '["127.0.0.1"]',
        '["host:0"]',
        '["host:70000"]',
        '["http://host:1"]',
    ],
    "EXPUNGE_EDITOR": ["no.such.module", "editor.no_such_module", "../editor", ""],
    "EXPUNGE_REVOKER": ["editor.no_such_module"],
    "EXPUNGE_PLANNER": ["editor.no_such_module"],
    "EXPUNGE_QUEUES": ["", "edits,", "banana"],
    "EXPUNGE_WORKER_NAME": ["a b", "n" * 101, "\u00e9"],
    "EXPUNGE_HEARTBEAT_SECONDS": ["30", "0"],
    "REDIS_URL": ["http://user:hunter2@host", "banana"],
    "EXPUNGE_SIGNING_KEY": ["hunter2"],
    "EXPUNGE_DEVICE": ["cuda:x", "gpu"],
    "EXPUNGE_JUDGE": ["/nowhere"],
    "EXPUNGE_POLICIES": ["/dev/null"],
}
"""Values that cannot be used. Settings that are not listed are numbers or booleans."""


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*SETTINGS, *OTHERS, "EXPUNGE_DATA_DIR"]:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in [*SETTINGS, *OTHERS] for value in BAD.get(name, ["banana"])]
)
def test_bad_value_is_named_with_the_expected_form(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings) as caught:
        check_settings(Path("/data"))
    (sentence,) = str(caught.value).splitlines()
    assert sentence.startswith(f"{name} is ")
    assert "; expected " in sentence
    assert f", for example {name}=" in sentence
    assert "hunter2" not in sentence


def test_all_bad_values_are_listed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = {"EXPUNGE_RATE_LIMIT": "banana", "EXPUNGE_LEASE_SECONDS": "0", "EXPUNGE_LOG_FORMAT": "xml", "REDIS_URL": "x"}
    for name, value in bad.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings) as caught:
        check_settings(Path("/data"))
    assert set(caught.value.problems) == set(bad)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("EXPUNGE_RATE_LIMITS", "EXPUNGE_RATE_LIMIT"),
        ("EXPUNGE_DATABASE_URI", "EXPUNGE_DATABASE_URL"),
        ("EXPUNGE_LEASE_SECOND", "EXPUNGE_LEASE_SECONDS"),
        ("EXPUNGE_PRECISON", "EXPUNGE_PRECISION"),
        ("EXPUNGE_MODEL_DIR", "EXPUNGE_MODELS_DIR"),
    ],
)
def test_misspelled_name_is_refused_with_the_one_that_was_meant(
    monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    monkeypatch.setenv(name, "hunter2")
    with pytest.raises(InvalidSettings) as caught:
        check_settings(Path("/data"))
    assert str(caught.value).splitlines() == [f"{name} is not a setting; did you mean {meant}?"]


def test_names_of_others_and_of_kubernetes_are_not_misspellings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from deploy.reference.settings import OTHERS as DOCUMENTED

    kubernetes = ["SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_8000_TCP", "PORT_8000_TCP_PROTO"]
    names = [*(f"EXPUNGE_{name}" for name in kubernetes), "EXPUNGE_CI_TOKEN", *DOCUMENTED]
    for name in {*names} - {*SETTINGS, *OTHERS}:
        monkeypatch.setenv(name, "1")
    check_settings(tmp_path)


def test_good_values_pass(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    good = {
        "EXPUNGE_DATABASE_URL": "postgresql://user:password@host/name",
        "EXPUNGE_BLOBS_URL": "s3://bucket/prefix",
        "EXPUNGE_BROKER_URL": "rediss://:password@host:6380/1",
        "EXPUNGE_SIGNING_DIR": "",
        "EXPUNGE_MODELS": json.dumps({"tiny": str(write_model(tmp_path / "models" / "tiny"))}),
        "EXPUNGE_MODELS_DIR": str(tmp_path / "models"),
        "EXPUNGE_RATE_LIMIT": "",
        "EXPUNGE_WEBHOOK_ALLOWED_HOSTS": '["Receiver.example:8443", "[::1]:8000"]',
        "EXPUNGE_QUEUES": "edits",
        "EXPUNGE_HUB_DIR": str(tmp_path / "hub"),
        "EXPUNGE_OIDC_REDIRECT_URL": "https://expunge.example/desk/sign-in/oidc/callback",
    }
    for name, value in good.items():
        monkeypatch.setenv(name, value)
    check_settings(tmp_path)
    assert ServiceSettings().webhook_allowed_hosts == ["receiver.example:8443", "::1:8000"]
    assert ServiceSettings().signing_dir is None


def test_a_provider_needs_a_client_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPUNGE_OIDC_ISSUER", "https://login.example")
    with pytest.raises(InvalidSettings, match=r"EXPUNGE_OIDC_CLIENT_ID is '';.*not empty where an issuer is set"):
        ServiceSettings()
    monkeypatch.setenv("EXPUNGE_OIDC_CLIENT_ID", "expunge")
    assert ServiceSettings().oidc_client_id == "expunge"


def test_up_refuses_a_bad_value_before_it_starts_anything(tmp_path: Path) -> None:
    started = time.monotonic()
    done = subprocess.run(
        command("up", "--data-dir", tmp_path / "data", "--port", "0"),
        env=environment(EXPUNGE_RATE_LIMIT="banana"),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert time.monotonic() - started < 10  # About a second on idle cores.
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("expunge: EXPUNGE_RATE_LIMIT is 'banana'; expected ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("module", ["service.server", "service.dispatcher", "worker"])
def test_each_process_refuses_bad_values_and_misspelled_names(module: str) -> None:
    name = "EXPUNGE_LEASE_SECONDS" if module == "worker" else "EXPUNGE_RATE_LIMIT"
    python = command("up")[0]
    misspelled = {"EXPUNGE_LEASE_SECOND": "30", "EXPUNGE_RATE_LIMITS": "5/second"}
    done = subprocess.run(
        [python, "-m", module],
        env=environment(**{name: "banana"}, **misspelled),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    *names, value = sorted(done.stderr.splitlines(), key=lambda line: " is not a setting" not in line)
    assert sorted(names) == [
        "EXPUNGE_LEASE_SECOND is not a setting; did you mean EXPUNGE_LEASE_SECONDS?",
        "EXPUNGE_RATE_LIMITS is not a setting; did you mean EXPUNGE_RATE_LIMIT?",
    ]
    assert value.startswith(f"{name} is 'banana'; expected ")


def test_a_process_accepts_the_settings_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPUNGE_PROGRESS_SECONDS", "1")  # the worker's, whose name is similar to settings of the API
    monkeypatch.setenv("EXPUNGE_BODY_SECONDS", "60")  # the API's
    assert ServiceSettings().body_seconds == 60
    assert WorkerSettings().progress_seconds == 1
