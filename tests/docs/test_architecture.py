"""The diagrams of the architecture page match the import graph and the contracts."""

import re
import tomllib
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import grimp
import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
DIAGRAMS = re.findall(r"```mermaid\nflowchart TB\n(.*?)```", PAGE, re.DOTALL)
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
LINTER: dict[str, Any] = PYPROJECT["tool"]["importlinter"]

Edge = tuple[str, str]


def edges(diagram: str) -> list[tuple[list[str], list[str]]]:
    """The arrows of a Mermaid flowchart, with several nodes on either side where it has ``&``."""
    labels = dict(re.findall(r"(\w+)\[([^\]]+)\]", diagram))
    lines = [line.split("-->") for line in re.sub(r"\[[^\]]+\]", "", diagram).splitlines() if line.strip()]
    return [
        tuple([labels.get(node.strip(), node.strip()) for node in side.split("&")] for side in line) for line in lines
    ]  # type: ignore[misc]


@pytest.fixture(scope="module")
def imports() -> set[Edge]:
    """Every import of one of our modules by another."""
    graph = grimp.build_graph(*LINTER["root_packages"])
    return {(module, other) for module in graph.modules for other in graph.find_modules_directly_imported_by(module)}


def package_of(module: str) -> str:
    return "service.store" if f"{module}.".startswith("service.store.") else module.split(".")[0]


def test_package_diagram_is_the_import_graph(imports: set[Edge]) -> None:
    drawn = {edge for left, right in edges(DIAGRAMS[0]) for edge in product(left, right)}
    assert drawn == {(package_of(a), package_of(b)) for a, b in imports if package_of(a) != package_of(b)}


def drawn_layers() -> list[set[str]]:
    """The levels of the second diagram, highest first."""
    arrows = edges(DIAGRAMS[1])
    assert all(upper[1] == lower[0] for upper, lower in pairwise(arrows))
    return [set(arrows[0][0]), *(set(below) for _, below in arrows)]


def test_layer_diagram_is_the_contract() -> None:
    (contract,) = (one for one in LINTER["contracts"] if one.get("containers") == ["editor"])
    assert drawn_layers() == [set(re.split(r"\s*[|:]\s*", layer)) for layer in contract["layers"]]


def test_layer_diagram_is_the_import_graph(imports: set[Edge]) -> None:
    level = {name: number for number, names in enumerate(drawn_layers()) for name in names}
    inside = {(a, b) for a, b in imports if a.startswith("editor.") and b.startswith("editor.")}
    folders = {(a.split(".")[1], b.split(".")[1]) for a, b in inside}
    assert {name for edge in folders for name in edge} == set(level)
    assert {(a, b) for a, b in folders if a != b and level[a] >= level[b]} == set()


def test_every_folder_of_the_editor_is_in_the_table() -> None:
    rows = re.findall(r"^\| (`.*?`) \|", PAGE, re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert {name for names in drawn_layers() for name in names} <= listed
