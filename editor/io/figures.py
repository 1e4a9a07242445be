"""Figures of the report as values: pictures and charts, without the library that draws them."""

from dataclasses import dataclass

DPI = 110


@dataclass(frozen=True)
class Picture:
    """A PNG figure of the report. ``name`` becomes a file name, so it must not be derived from a concept."""

    name: str
    png: bytes
    caption: str
    alt: str

    @property
    def width(self) -> int:
        """Width in CSS pixels (96 per inch), from the PNG header."""
        return int.from_bytes(self.png[16:20], "big") * 96 // DPI


@dataclass(frozen=True)
class Chart:
    """An SVG chart of numbers in the report. ``name`` becomes a file name."""

    name: str
    svg: str
    """One ``svg`` element. Its ids are unique, so that one page can contain many charts."""
    caption: str
    alt: str


Figure = Picture | Chart


def figure_file(figure: Figure) -> tuple[str, bytes]:
    """Return the name and the contents of a figure's published file."""
    if isinstance(figure, Chart):
        return f"figures/{figure.name}.svg", figure.svg.encode()
    return f"figures/{figure.name}.png", figure.png
