"""Distributions that bring a plug-in."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

InstallPlugin = Callable[[str, str, str], None]
MODULE = "planted_plugin"


@pytest.fixture
def install_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InstallPlugin]:
    """Install a distribution with one module, whose class ``Planted`` it declares in an entry-point group under a name."""

    def install(group: str, name: str, source: str) -> None:
        site = tmp_path / "site-packages"
        info = site / "planted-1.dist-info"
        info.mkdir(parents=True)
        (site / f"{MODULE}.py").write_text(source)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {MODULE}:Planted\n")
        monkeypatch.syspath_prepend(site)

    yield install
    sys.modules.pop(MODULE, None)
