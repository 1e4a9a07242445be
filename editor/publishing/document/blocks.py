"""The blocks of a document. All text is plain and escaped by the renderers, so that no concept becomes markup."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from api_schemas.report import Verdict
from editor.io.figures import Figure


@dataclass(frozen=True)
class Code:
    """A name or a digest, set in monospace. It may break anywhere."""

    text: str


@dataclass(frozen=True)
class VerdictLabel:
    """A verdict as a coloured label."""

    verdict: Verdict | None


Inline = str | Code | VerdictLabel


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of text."""

    pieces: Sequence[Inline]
    leading: bool = False
    """Set larger, for the most important sentence."""


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A bulleted list; ``small`` is for long lists of prompts."""

    items: Sequence[str]
    small: bool = False


@dataclass(frozen=True)
class Table:
    """A table. The first cell of each row is its heading."""

    caption: str
    head: Sequence[str]
    """The column headings; empty for rows of a name and a value."""
    rows: Sequence[Sequence[Inline]]


@dataclass(frozen=True)
class Illustration:
    """A figure with its caption."""

    figure: Figure


@dataclass(frozen=True)
class Details:
    """Details, collapsed in HTML and printed in full in the PDF."""

    summary: str
    blocks: Sequence["Block"]


Block = Paragraph | Heading | Bullets | Table | Illustration | Details


@dataclass(frozen=True)
class Section:
    """A section with a heading; ``name`` is its anchor."""

    name: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Document:
    """The whole report."""

    kind: str
    title: str
    verdict: Verdict | None
    summary: Sequence[Section]
    """Shown in a frame together with the verdict."""
    sections: Sequence[Section]
    footer: str


def paragraph(*pieces: Inline) -> Paragraph:
    """Return a paragraph of text pieces."""
    return Paragraph(pieces)


def bullets(items: Sequence[str], otherwise: str) -> Block:
    """Return a list, or a sentence if the list is empty."""
    return Bullets(items) if items else paragraph(otherwise)


@dataclass(frozen=True)
class FigureIndex:
    """The report's figures by name: ``samples…``, ``scores``, ``gates``, ``trace-N``, ``trade-off-N``."""

    figures: Sequence[Figure]

    @property
    def sample_sheets(self) -> list[Figure]:
        """The sample sheets, which show images before and after the edit."""
        return [figure for figure in self.figures if figure.name.startswith("samples")]

    def chart(self, name: str) -> Iterator[Illustration]:
        """Yield the figure of a name, if there is one."""
        return (Illustration(figure) for figure in self.figures if figure.name == name)
