"""The report in print: a tagged PDF/UA, set by Typst from the same document as the page.

What is written by strangers goes in as data, never as markup. Fonts are those that come with Typst and matplotlib, so that
every machine makes the same bytes. Letters that they lack (Chinese, say) are written as their numbers in Unicode, and the print
says so: fonts for every script would weigh more than everything else that is installed.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import matplotlib
import typst
from matplotlib.ft2font import FT2Font

from api_schemas.report import AuditReport
from editor.io.plotting import Chart, Figure, file_of
from editor.publishing import report_text as words
from editor.publishing.document.assemble import document
from editor.publishing.document.blocks import (
    Block,
    Bullets,
    Code,
    Details,
    Document,
    Heading,
    Illustration,
    Inline,
    Outcome,
    Paragraph,
    Section,
    Table,
)

TEMPLATE = Path(__file__).parent / "templates" / "report.typ"
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
WIDEST = FONTS / "DejaVuSans.ttf"
"""Latin, Greek, Cyrillic, Hebrew, Arabic and many more."""
SPELLED = "Letters that the fonts of this print lack are written as their numbers in Unicode. The page shows them as they are."
STANDARD: Final = "ua-1"
"""PDF/UA-1 (ISO 14289-1): read aloud in order, with headings, tables and texts for pictures."""


def print_out(report: AuditReport, figures: Sequence[Figure]) -> bytes:
    """The PDF; the same report gives the same bytes."""
    return typeset(document(report, figures), report.created_at, figures)


def typeset(content: Document, at: datetime, figures: Sequence[Figure]) -> bytes:
    """A document as PDF, dated ``at``."""
    with project(content, figures) as compiler:
        made = compiler.compile(format="pdf", timestamp=at.replace(microsecond=0), pdf_standards=STANDARD)
    if not isinstance(made, bytes):
        raise TypeError("a PDF is one file")
    return made


def pages(content: Document, at: datetime, figures: Sequence[Figure], density: float) -> list[bytes]:
    """The same as a PNG for each page, at so many pixels an inch."""
    with project(content, figures) as compiler:
        made = compiler.compile(format="png", timestamp=at.replace(microsecond=0), ppi=density)
    return made if isinstance(made, list) else [made or b""]


@contextmanager
def project(content: Document, figures: Sequence[Figure]) -> Iterator[typst.Compiler]:
    """Typst, on a folder with the template, the document as data, and the figures."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "main.typ").write_bytes(TEMPLATE.read_bytes())
        written = json.dumps(plain_document(content), ensure_ascii=False)
        note = "" if spelled(written) == written else SPELLED
        (root / "document.json").write_text(spelled(written), encoding="utf-8")
        (root / "note.json").write_text(json.dumps(note))
        for figure in figures:
            path, image = file_of(figure)
            lettered = spelled(image.decode()).encode() if isinstance(figure, Chart) else image
            (root / Path(path).name).write_bytes(lettered)
        yield typst.Compiler(root / "main.typ", root=root, font_paths=[FONTS], ignore_system_fonts=True)


def spelled(words: str) -> str:
    """Letters that the print's fonts lack as their numbers: ``"狐"`` -> ``"[U+72D0]"``."""
    return "".join(
        letter if letter.isascii() or ord(letter) in letters() else f"[U+{ord(letter):04X}]" for letter in words
    )


@cache
def letters() -> frozenset[int]:
    """The numbers of those that the print can show."""
    return frozenset(FT2Font(str(WIDEST)).get_charmap())


def plain_document(content: Document) -> dict[str, Any]:
    """As JSON."""
    return {
        "kind": content.kind,
        "title": content.title,
        "verdict": plain_inline(Outcome(content.verdict)),
        "summary": [plain_section(section) for section in content.summary],
        "sections": [plain_section(section) for section in content.sections],
        "footer": content.footer,
    }


def plain_section(section: Section) -> dict[str, Any]:
    """A section."""
    return {"title": section.title, "blocks": [plain_block(block) for block in section.blocks]}


def plain_block(block: Block) -> dict[str, Any]:
    """A block, by its kind."""
    match block:
        case Paragraph():
            return {"is": "paragraph", "pieces": [*map(plain_inline, block.pieces)], "leading": block.leading}
        case Heading():
            return {"is": "heading", "text": block.text}
        case Bullets():
            return {"is": "bullets", "items": list(block.items), "small": block.small}
        case Table():
            rows = [[*map(plain_inline, row)] for row in block.rows]
            return {"is": "table", "caption": block.caption, "head": list(block.head), "rows": rows}
        case Illustration():
            figure = block.figure
            path = Path(file_of(figure)[0]).name
            return {"is": "illustration", "path": path, "caption": figure.caption, "alt": figure.alt}
        case Details():
            return {"is": "details", "summary": block.summary, "blocks": [*map(plain_block, block.blocks)]}


def plain_inline(piece: Inline) -> dict[str, str]:
    """A piece of text."""
    match piece:
        case Code():
            return {"is": "code", "text": piece.text}
        case Outcome():
            return {"is": piece.verdict or "none", "text": words.OUTCOMES[piece.verdict]}
    return {"is": "text", "text": piece}
