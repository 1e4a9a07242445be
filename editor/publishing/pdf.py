"""Render the report as a tagged PDF/UA, typeset by Typst from the same document as the HTML page.

Untrusted text is passed as data, never as markup. The fonts are those of Typst and matplotlib, so that every machine gives the
same bytes. Characters that they lack (Chinese, for example) or that PDF/UA refuses (a byte order mark) are printed as Unicode
code points, with a note: fonts for every script would be larger than everything else that is installed.
"""

import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache, partial
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, Final

import typst

from api_schemas.report import AuditReport
from editor.io.background import run_in_background
from editor.io.figures import Chart, Figure, figure_file
from editor.io.printable import UNCOMMON, spell_code_point, spell_unprintable
from editor.publishing import report_text
from editor.publishing.document.assemble import build_document
from editor.publishing.document.blocks import (
    Block,
    Bullets,
    Code,
    Details,
    Document,
    Heading,
    Illustration,
    Inline,
    Paragraph,
    Section,
    Table,
    VerdictLabel,
)

TYPST_TEMPLATE = Path(__file__).parent / "templates" / "report.typ"
FONT_DIR = Path(str(distribution("matplotlib").locate_file("matplotlib/mpl-data/fonts/ttf")))
"""matplotlib's fonts, found without importing it, which takes a second."""
OGHAM_SPACE_MARK = "\u1680"
"""The one white space that the proportional font has and the monospaced one lacks."""
COVERAGE_FONT = FONT_DIR / "DejaVuSans.ttf"
"""The font with the largest coverage: Latin, Greek, Cyrillic, Hebrew, Arabic and more."""
SPELLED_NOTE = "Characters that this PDF cannot show are printed as Unicode code points. The HTML page shows them."
PDF_STANDARD: Final = "ua-1"
"""PDF/UA-1 (ISO 14289-1): screen readers get reading order, headings, tables and alternative texts."""


def render_pdf(report: AuditReport, figures: Sequence[Figure]) -> bytes:
    """Return the PDF. The same report gives the same bytes."""
    return compile_pdf(build_document(report, figures), report.created_at, figures)


def compile_pdf(content: Document, at: datetime, figures: Sequence[Figure]) -> bytes:
    """Render a document as PDF, dated ``at``."""
    with typst_project(content, figures) as compiler:
        compile_document = partial(
            compiler.compile, format="pdf", timestamp=at.replace(microsecond=0), pdf_standards=PDF_STANDARD
        )
        made = run_in_background(compile_document).join()
    if not isinstance(made, bytes):
        raise TypeError("Typst returned several files for one PDF")
    return made


def render_pages(content: Document, at: datetime, figures: Sequence[Figure], density: float) -> list[bytes]:
    """Render a document as one PNG for each page, at ``density`` pixels per inch."""
    with typst_project(content, figures) as compiler:
        made = compiler.compile(format="png", timestamp=at.replace(microsecond=0), ppi=density)
    return made if isinstance(made, list) else [made or b""]


@contextmanager
def typst_project(content: Document, figures: Sequence[Figure]) -> Iterator[typst.Compiler]:
    """Context manager: a Typst compiler on a folder with the template, the document as data, and the figures."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "main.typ").write_bytes(TYPST_TEMPLATE.read_bytes())
        data = document_json(content)
        printable = spell_strings(data)
        note = "" if printable == data else SPELLED_NOTE
        (root / "document.json").write_text(json.dumps(printable), encoding="utf-8")
        (root / "note.json").write_text(json.dumps(note))
        for figure in figures:
            path, image = figure_file(figure)
            if isinstance(figure, Chart):
                image = spell_missing_letters(image.decode()).encode()
            (root / Path(path).name).write_bytes(image)
        yield typst.Compiler(root / "main.typ", root=root, font_paths=[FONT_DIR], ignore_system_fonts=True)


def spell_missing_letters(text: str) -> str:
    """Replace characters that the fonts lack or PDF/UA refuses by their code points: ``"狐"`` -> ``"[U+72D0]"``."""

    def spell(found: re.Match[str]) -> str:
        letter = found[0]
        return letter if letter.isascii() or ord(letter) in font_code_points() else spell_code_point(letter)

    return UNCOMMON.sub(spell, spell_unprintable(text))


def spell_strings(value: Any) -> Any:
    """Apply :func:`spell_missing_letters` to every string of a JSON value, before escapes hide the characters."""
    match value:
        case str():
            return spell_missing_letters(value)
        case list():
            return [spell_strings(one) for one in value]
        case dict():
            return {key: spell_strings(one) for key, one in value.items()}
    return value


@cache
def font_code_points() -> frozenset[int]:
    """Return the code points that the fonts can show. Typst takes no white space from a fallback font."""
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(COVERAGE_FONT)).get_charmap()) - {ord(OGHAM_SPACE_MARK)}


def document_json(content: Document) -> dict[str, Any]:
    """Return a document as JSON."""
    return {
        "kind": content.kind,
        "title": content.title,
        "verdict": inline_json(VerdictLabel(content.verdict)),
        "summary": [section_json(section) for section in content.summary],
        "sections": [section_json(section) for section in content.sections],
        "footer": content.footer,
    }


def section_json(section: Section) -> dict[str, Any]:
    """Return a section as JSON."""
    return {"title": section.title, "blocks": [block_json(block) for block in section.blocks]}


def block_json(block: Block) -> dict[str, Any]:
    """Return a block as JSON."""
    match block:
        case Paragraph():
            return {"is": "paragraph", "pieces": [*map(inline_json, block.pieces)], "leading": block.leading}
        case Heading():
            return {"is": "heading", "text": block.text}
        case Bullets():
            return {"is": "bullets", "items": list(block.items), "small": block.small}
        case Table():
            rows = [[*map(inline_json, row)] for row in block.rows]
            return {"is": "table", "caption": block.caption, "head": list(block.head), "rows": rows}
        case Illustration():
            figure = block.figure
            path = Path(figure_file(figure)[0]).name
            return {"is": "illustration", "path": path, "caption": figure.caption, "alt": figure.alt}
        case Details():
            return {"is": "details", "summary": block.summary, "blocks": [*map(block_json, block.blocks)]}


def inline_json(piece: Inline) -> dict[str, str]:
    """Return a piece of text as JSON."""
    match piece:
        case Code():
            return {"is": "code", "text": piece.text}
        case VerdictLabel():
            return {"is": piece.verdict or "none", "text": report_text.VERDICT_LABELS[piece.verdict]}
    return {"is": "text", "text": piece}
