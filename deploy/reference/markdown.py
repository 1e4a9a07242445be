"""Markdown helpers of the reference pages."""

import html
import inspect
import re
from collections.abc import Iterable, Sequence

GENERATED = "This page is generated from the code: `make reference` writes it."


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; its cells may contain any text."""
    lines = [header, ["---"] * len(header), *([_cell(text) for text in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def code(text: str) -> str:
    """Return inline code, or an empty string for an empty text."""
    return f"`{text}`" if text else ""


def summary(documented: object) -> str:
    """Return the first paragraph of a docstring on one line."""
    return " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split())


def _cell(text: str) -> str:
    """One line, with the characters escaped that would end the cell or start HTML."""
    return "".join(_escape(part) for part in re.split(r"(`[^`]*`)", " ".join(text.split())))


def _escape(part: str) -> str:
    """Escape text or inline code. Code with a bar becomes HTML: renderers differ in how they read an escaped bar in code."""
    if part.startswith("`"):
        bar = html.escape(part.strip("`"), quote=False).replace("|", "&#124;")
        return f"<code>{bar}</code>" if "|" in part else part
    return part.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
