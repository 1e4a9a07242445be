"""Text of every Unicode category can be printed in the PDF and in charts."""

import io
import sys
import unicodedata
from datetime import UTC, datetime
from xml.etree import ElementTree

import pypdf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_schemas.report import AuditReport
from editor.io.plotting import Picture, create_figure, render_png
from editor.publishing.charts import make_charts
from editor.publishing.document.blocks import (
    Bullets,
    Code,
    Details,
    Document,
    Heading,
    Illustration,
    Section,
    Table,
    paragraph,
)
from editor.publishing.pdf import compile_pdf, font_code_points, render_pdf


def printed_text(pdf: bytes) -> str:
    return "".join("".join(page.extract_text().split()) for page in pypdf.PdfReader(io.BytesIO(pdf)).pages)


def compile_words(*words: str) -> bytes:
    """Put each text in every place where the report has text."""
    picture = Picture("samples", PIXEL, words[0], words[-1])
    blocks = [
        paragraph(*words, Code(words[0])),
        Heading(words[0]),
        Bullets(words),
        Bullets(words, small=True),
        Table(words[0], (words[0],), [(word,) for word in words]),
        Table(words[0], (), [(words[0], Code(words[-1]))]),
        Details(words[0], [paragraph(words[0])]),
        Illustration(picture),
    ]
    section = Section(words[0], words[0], blocks)
    document = Document(words[0], words[0], None, [section], [section], words[0])
    return compile_pdf(document, datetime(2026, 1, 1, tzinfo=UTC), [picture])


PIXEL = render_png(create_figure(0.1, 0.1))
CATEGORIES = sorted({unicodedata.category(chr(code)) for code in range(sys.maxunicode + 1)})


@settings(max_examples=60, deadline=None)
@given(data=st.data(), category=st.sampled_from(CATEGORIES))
def test_pdf_prints_text_of_every_unicode_category(data: st.DataObject, category: str) -> None:
    letters = st.characters(categories=[category])  # type: ignore[list-item]
    word = data.draw(st.text(letters, min_size=1, max_size=8))
    assert compile_words(f"a{word}b", word, f"{word} fox").startswith(b"%PDF")


def test_pdf_prints_every_character_of_its_fonts() -> None:
    letters = [chr(code) for code in sorted(font_code_points())]
    lines = ["".join(letters[start : start + 100]) for start in range(0, len(letters), 100)]
    assert compile_words("fox", *lines).startswith(b"%PDF")


@pytest.mark.parametrize("letter", ["\ufeff", "\x00", "\x07", "\x7f", "\u202e", "\ue000", "\ufffe", "\ud800", "\u1680"])
def test_characters_that_pdf_refuses_are_printed_as_code_points(letter: str) -> None:
    assert f"a[U+{ord(letter):04X}]b" in printed_text(compile_words(f"a{letter}b"))


@pytest.mark.parametrize("letter", ["\ufeff", "\x00", "\x1b", "\x7f", "\ufffe"])
def test_charts_with_control_characters_are_valid_xml(report: AuditReport, letter: str) -> None:
    named = report.removals[0].model_copy(update={"concept": f"a{letter}b"})
    hostile = report.model_copy(update={"removals": [named, *report.removals[1:]]})
    charts = make_charts(hostile)
    assert all(ElementTree.fromstring(chart.svg).tag.endswith("svg") for chart in charts)
    assert render_pdf(hostile, charts).startswith(b"%PDF")
