"""What the documents say, held against the code: commands, options, make targets, code, links."""

import ast
import importlib
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
import yaml

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def blocks(language: str) -> Iterator[Any]:
    """Every fenced block of a language, named by its document."""
    for document in DOCUMENTS:
        for number, (kind, text) in enumerate(FENCE.findall(document.read_text())):
            if kind == language:
                yield pytest.param(text, id=f"{document.relative_to(ROOT)}-{number}")


def console_lines() -> Iterator[Any]:
    """Every command that a reader is told to type."""
    for block in blocks("console"):
        text = str(block.values[0]).replace("\\\n", " ")
        yield from (pytest.param(line, id=line) for line in text.splitlines() if line.strip())


def links() -> Iterator[Any]:
    """Every link to a file of ours."""
    for document in DOCUMENTS:
        for target in LINK.findall(FENCE.sub("", document.read_text())):
            if not urlsplit(target).scheme:
                yield pytest.param(document, target, id=f"{document.relative_to(ROOT)} -> {target}")


def entry_points() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    commands: dict[str, str] = project["entry-points"]["expunge.commands"]
    return commands


def command(name: str) -> Any:
    """A sub-command of `expunge`, as pyproject.toml declares it."""
    module, _, function = entry_points()[name].partition(":")
    loaded = getattr(importlib.import_module(module), function)
    if isinstance(loaded, typer.Typer):
        return typer.main.get_command(loaded)
    app = typer.Typer()
    app.command(name)(loaded)
    return typer.main.get_command(app)


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("line", list(console_lines()))
def test_commands_exist(line: str) -> None:
    program, *arguments = shlex.split(line, comments=True)
    if program == "make":
        assert set(arguments) <= make_targets()
    elif Path(program).name == "expunge":
        check_options(*arguments)
    else:
        assert program in {"cd", "cp", "export", "pip"} or Path(program).name.startswith("python")


def check_options(name: str, *arguments: str) -> None:
    if name == "--help":
        return
    found = command(name)
    if commands := getattr(found, "commands", None):  # a group
        found = commands[arguments[0]]
    known = {option for parameter in found.params for option in parameter.opts}
    assert {argument for argument in arguments if argument.startswith("--")} <= known


@pytest.mark.parametrize("name", entry_points())
def test_every_command_loads_and_has_help(name: str) -> None:
    assert command(name).help


@pytest.mark.parametrize("source", list(blocks("python")))
def test_python_compiles_and_its_imports_exist(source: str) -> None:
    code = compile(source, "<document>", "exec")
    assert code.co_names
    exec("\n".join(line for line in source.splitlines() if line.startswith(("import ", "from "))), {})


@pytest.mark.parametrize(("document", "target"), list(links()))
def test_links_resolve(document: Path, target: str) -> None:
    path, _, anchor = target.partition("#")
    linked = document.parent / path if path else document
    assert linked.exists()
    assert not anchor or anchor in anchors(linked)


def anchors(document: Path) -> set[str]:
    """The headings' anchors, as the common renderers make them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


class MkdocsLoader(yaml.SafeLoader):
    """Reads mkdocs.yml without importing the functions that it names."""


MkdocsLoader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)


def nav_pages(nav: list[Any]) -> Iterator[str]:
    """Every page of a navigation tree."""
    for entry in nav:
        if isinstance(entry, str):
            yield entry
        else:
            for value in entry.values():
                yield from nav_pages([value] if isinstance(value, str) else value)


def pages_outside_docs() -> dict[str, str]:
    """``PAGES_OUTSIDE_DOCS`` of the site's hooks, whose module imports mkdocs."""
    source = (ROOT / "docs" / "mkdocs_hooks.py").read_text()
    (value,) = (
        node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PAGES_OUTSIDE_DOCS"
    )
    pages: dict[str, str] = ast.literal_eval(value)
    return pages


def test_every_page_is_in_the_navigation() -> None:
    nav = yaml.load((ROOT / "mkdocs.yml").read_text(), MkdocsLoader)["nav"]
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(nav_pages(nav)) == sorted([*pages, *pages_outside_docs().values()])


def test_pages_outside_docs_exist() -> None:
    assert [path for path in pages_outside_docs() if not (ROOT / path).is_file()] == []


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").glob("*/*.md")}
    assert {page for page in pages if f"({page})" not in index and not page.startswith("decisions/0")} == set()


def test_contributing_lists_every_make_target() -> None:
    listed = set(re.findall(r"^\| `make ([a-z-]+)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE))
    assert listed == make_targets()


def test_install_page_lists_every_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    page = (ROOT / "docs" / "how-to" / "install.md").read_text()
    assert set(re.findall(r"^\| `([a-z]+)` \|", page, re.MULTILINE)) == set(extras)


def test_version_of_the_citation_is_current() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])


def test_continuous_integration_runs_the_commands_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert re.findall(r"make .*", script) == ['make -C "$(dirname "$0")/.." test']
    assert "\nmake test\n" in (ROOT / "README.md").read_text()


def test_pinned_torch_version_is_documented() -> None:
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert "torch==2.13.0" in pins
    assert not any(pin.startswith("torchvision") for pin in pins)


def test_every_direct_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    names = {re.split(r"[\[><=;\s]", requirement)[0] for requirement in wanted} - {"expunge"}
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert names - pinned == set()
