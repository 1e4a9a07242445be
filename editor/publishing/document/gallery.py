"""The figures of a report, by their places in it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from editor.publishing.document.blocks import Illustration
from editor.publishing.figures import Figure


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
