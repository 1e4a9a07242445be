"""The generated reference pages match the code. If not: `make reference`."""

import re
from pathlib import Path

import pytest

from deploy.reference.__main__ import PAGES

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
VARIABLE = re.compile(r"\bEXPUNGE_[A-Z_]+[A-Z]\b")


@pytest.mark.parametrize("name", PAGES)
def test_generated_page_is_current(name: str) -> None:
    assert (REFERENCE / name).read_text() == PAGES[name]()


def test_every_variable_in_the_code_is_documented() -> None:
    sources = [
        path for package in ("api_schemas", "editor", "service", "worker") for path in (ROOT / package).rglob("*.py")
    ]
    used = {name for path in sources for name in VARIABLE.findall(path.read_text())}
    assert used - set(VARIABLE.findall((REFERENCE / "settings.md").read_text())) == set()


def test_quoted_messages_are_in_the_error_reference() -> None:
    """Troubleshooting quotes parts of messages; … stands for a value."""
    page = (ROOT / "docs" / "how-to" / "troubleshooting.md").read_text()
    errors = (REFERENCE / "errors.md").read_text().lower()
    quoted = [part.strip().lower() for quote in re.findall(r'"([^"\n]+)"', page) for part in quote.split("…")]
    assert [part for part in quoted if part not in errors] == []
