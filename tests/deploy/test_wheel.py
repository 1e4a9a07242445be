"""The wheel, installed alone, runs every command: nothing that ships needs `research`, `tests` or the checkout."""

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hatchling import build

ROOT = Path(__file__).parents[2]
COMMANDS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["expunge.commands"]
PACKAGES = {"api_schemas", "editor", "service", "worker"}
OPTIONAL = {"eval_unlearn", "nudenet", "overcomplete", "sae_lens", "sparsify"}
"""Packages of other projects that few installations have."""
IMPORT_ALL = """
import importlib, pkgutil, sys

for root in sys.argv[1:]:
    package = importlib.import_module(root)
    for module in pkgutil.walk_packages(package.__path__, f"{root}."):
        if module.name.rpartition(".")[2] in ("__main__", "env") or ".versions." in module.name:
            continue  # programmes, and scripts that Alembic runs
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            print(error.name)
"""

SHOW_HELP = """
import sys
from api_schemas.cli.main import main

for name in sys.argv[1:]:
    sys.argv = ["expunge", name, "--help"]
    try:
        main()
    except SystemExit as exit:
        print("HELP", name, exit.code)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        return folder / build.build_wheel(str(folder))
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel and the dependencies, but without the checkout."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False, symlinks=True)
    site = next((folder / "lib").glob("python*")) / "site-packages"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel]
    subprocess.run(install, check=True)
    # The editable installation of the checkout is a .pth file in there, which is not read for a path that is added like this.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin" / "python"


def run(python: Path, arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "HF_HUB_OFFLINE": "1", "COLUMNS": "120"}
    return subprocess.run(
        [python, *arguments], capture_output=True, text=True, cwd=folder, env=environment, check=False
    )


def expunge(python: Path, arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return run(python, ["-c", "from api_schemas.cli.main import main; main()", *arguments], folder)


def test_the_wheel_holds_the_four_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == PACKAGES
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    assert not [name for name in names if name.endswith((".pt", ".bin", ".pkl", ".ckpt"))]


def test_every_module_is_imported_without_the_checkout(python: Path, tmp_path: Path) -> None:
    done = run(python, ["-c", IMPORT_ALL, *sorted(PACKAGES)], tmp_path)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= OPTIONAL


def test_every_command_shows_its_help(python: Path, tmp_path: Path) -> None:
    done = run(python, ["-c", SHOW_HELP, *COMMANDS], tmp_path)
    assert done.returncode == 0, done.stderr
    assert {line for line in done.stdout.splitlines() if line.startswith("HELP ")} == {
        f"HELP {name} 0" for name in COMMANDS
    }
    assert done.stdout.count("Usage:") >= len(COMMANDS)


def test_a_removal_is_solved_and_verified(python: Path, tmp_path: Path) -> None:
    steps = (
        ["keys", "new", "--folder", "keys"],
        ["erase", "--remove", "fox=dog face", "--no-validate", "--delta-only", "--sign-with", "keys", "--out", "out"],
        ["verify", "out", "--keys", "keys/keys.json"],
    )
    for step in steps:
        done = expunge(python, step, tmp_path)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "delta.safetensors").is_file()
