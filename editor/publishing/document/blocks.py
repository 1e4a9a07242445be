"""The blocks that a document is made of. All text is plain: whoever shows it escapes it, so that no concept is markup."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from api_schemas.report import Verdict
from editor.io.plotting import Figure


@dataclass(frozen=True)
class Code:
    """A name or a digest: in the typewriter's letters, and broken anywhere."""

    text: str


@dataclass(frozen=True)
class Outcome:
    """A verdict in words, with its colour."""

    verdict: Verdict | None


Inline = str | Code | Outcome


@dataclass(frozen=True)
class Paragraph:
    """A run of text."""

    pieces: Sequence[Inline]
    leading: bool = False
    """Set larger: what to read if nothing else."""


@dataclass(frozen=True)
class Heading:
    """Of a part of a section."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of sentences; ``small`` for long lists of prompts."""

    items: Sequence[str]
    small: bool = False


@dataclass(frozen=True)
class Table:
    """The first cell of each row is its heading."""

    caption: str
    head: Sequence[str]
    """Empty: rows of a name and its value."""
    rows: Sequence[Sequence[Inline]]


@dataclass(frozen=True)
class Illustration:
    """A figure with its caption."""

    figure: Figure


@dataclass(frozen=True)
class Details:
    """What only some want to read: folded on a page, whole in print."""

    summary: str
    blocks: Sequence["Block"]


Block = Paragraph | Heading | Bullets | Table | Illustration | Details


@dataclass(frozen=True)
class Section:
    """A part of the document under a heading; ``name`` is its anchor."""

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
    """For whoever asked; framed, with the verdict."""
    sections: Sequence[Section]
    footer: str


def text(*pieces: Inline) -> Paragraph:
    """A paragraph."""
    return Paragraph(pieces)


def bullets(items: Sequence[str], otherwise: str) -> Block:
    """A list, or a sentence where it is empty."""
    return Bullets(items) if items else text(otherwise)


@dataclass(frozen=True)
class Gallery:
    """Figures find their place by name: ``samples…``, ``scores``, ``gates``, ``trace-N``, ``trade-off-N``."""

    figures: Sequence[Figure]

    @property
    def sheets(self) -> list[Figure]:
        """Pictures before and after."""
        return [figure for figure in self.figures if figure.name.startswith("samples")]

    def chart(self, name: str) -> Iterator[Illustration]:
        """The figure of that name, if there is one."""
        return (Illustration(figure) for figure in self.figures if figure.name == name)
