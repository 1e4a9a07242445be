"""Small pieces of Markdown that the reference pages share."""

import inspect
import re
from collections.abc import Iterable, Sequence

GENERATED = "This page is generated from the code: `make reference` writes it."


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose cells may contain any text."""
    lines = [header, ["---"] * len(header), *([_cell(text) for text in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def code(text: str) -> str:
    """Inline code; nothing for no text."""
    return f"`{text}`" if text else ""


def summary(documented: object) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split())


def _cell(text: str) -> str:
    """One line, with the characters escaped that would end the cell or start HTML."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()).replace("|", "\\|"))
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;").replace("*", "\\*") for part in parts)
