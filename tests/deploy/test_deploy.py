"""Deployment files name only settings, extras, modules and commands that exist."""

import importlib.util
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.reference import env_example
from service.launcher.settings import LauncherSettings
from service.settings import ServiceSettings
from worker.settings import WorkerSettings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SETTINGS = (ServiceSettings, WorkerSettings, LauncherSettings)
FIELDS = {name: field for settings in SETTINGS for name, field in settings.model_fields.items()}
IMAGES = sorted((DEPLOY / "images").glob("*.Dockerfile"))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def example() -> dict[str, str]:
    return dict(re.findall(r"^#?([A-Z0-9_]+)=(.*)$", (DEPLOY / ".env.example").read_text(), re.MULTILINE))


def test_example_is_current() -> None:
    """If not: `make reference`."""
    assert (DEPLOY / ".env.example").read_text() == env_example.page()


@pytest.mark.parametrize("path", [*IMAGES, *UNITS, DEPLOY / "compose.yaml"], ids=lambda path: path.name)
def test_only_existing_settings_are_set(path: Path) -> None:
    named = set(re.findall(r"\bEXPUNGE_[A-Z_]+", path.read_text()))
    assert named <= {f"EXPUNGE_{name.upper()}" for name in FIELDS}


def commands() -> Iterator[Any]:
    """Every command that an image, a unit or the compose file starts."""
    for image in IMAGES:
        for line in re.findall(r"^CMD (\[.*\])$", image.read_text(), re.MULTILINE):
            yield pytest.param(json.loads(line), id=image.name)
    for unit in UNITS:
        for line in re.findall(r"^Exec\w+=(.*)$", unit.read_text(), re.MULTILINE):
            yield pytest.param(shlex.split(line), id=f"{unit.name}: {line}")
    for name, service in COMPOSE["services"].items():
        if service.get("image", "").startswith("expunge") and "command" in service:
            yield pytest.param(service["command"], id=f"compose: {name}")


@pytest.mark.parametrize("command", list(commands()))
def test_commands_exist(command: list[str]) -> None:
    program, *arguments = command
    if Path(program).name == "expunge":
        entries = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["expunge.commands"]
        assert arguments[0] in entries
    else:
        assert (Path(program).name, arguments[0]) == ("python", "-m")
        assert importlib.util.find_spec(arguments[1])


@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.name)
def test_images_install_existing_extras(image: Path) -> None:
    text = image.read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (wanted,) = re.findall(r'"\.\[(.*)\]"', text)
    assert set(wanted.split(",")) <= set(extras)
    assert all(
        (ROOT / source).exists()
        for line in re.findall(r"^COPY (?!--)(.*) \S+$", text, re.MULTILINE)
        for source in line.split()
    )
    assert "--constraint constraints.txt" in text
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)


def test_api_image_has_no_torch() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert not any(
        re.match(r"torch|diffusers|transformers|expunge\[", need) for need in extras["service"] + extras["scaleout"]
    )


def test_compose_references_are_defined() -> None:
    services = COMPOSE["services"]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or source.startswith("$")
    secrets = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    assert secrets <= set(example())


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_units_are_complete(unit: Path) -> None:
    sections = re.findall(r"^\[(\w+)\]$", unit.read_text(), re.MULTILINE)
    keys = re.findall(r"^(\w+)=", unit.read_text(), re.MULTILINE)
    assert sections == ["Unit", "Service", "Install"]
    assert {"Description", "ExecStart", "User", "Restart", "WantedBy"} <= set(keys)
