"""The public API does what its page shows, in the lines that it shows."""

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import editor
from editor.publishing.attestation.keys import KeyFolder

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "python.md"


def shown_program() -> str:
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return program


def test_documented_program_runs_with_the_documented_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    KeyFolder(tmp_path / "keys").create(datetime.now(UTC).replace(microsecond=0))
    exec(compile(shown_program(), str(PAGE), "exec"), {})
    assert capsys.readouterr().out == "inconclusive True\n"
    assert (tmp_path / "edited" / "text_encoder" / "model.safetensors").is_file()
    assert (tmp_path / "without-fox" / "report.pdf").is_file()


def test_every_public_name_can_be_imported() -> None:
    for name in editor.__all__:
        assert getattr(editor, name) is not None
    assert sorted(editor.__all__) == sorted(editor._HOMES) == sorted(dir(editor))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="easel"):
        editor.easel  # noqa: B018


def test_importing_the_package_imports_no_torch() -> None:
    subprocess.run([sys.executable, "-c", "import sys, editor; assert 'torch' not in sys.modules"], check=True)
