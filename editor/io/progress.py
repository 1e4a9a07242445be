"""Progress callbacks."""

from collections.abc import Callable
from dataclasses import dataclass

ProgressCallback = Callable[[float], None]
"""Called with the finished fraction, 0 to 1. May raise to cancel the work."""


def no_progress(fraction: float) -> None:
    """Ignore progress."""


@dataclass(frozen=True)
class SubProgress:
    """Report one step of a longer task: the step covers ``share`` of the task and begins at ``start``."""

    parent: ProgressCallback
    start: float
    share: float

    def __call__(self, fraction: float) -> None:
        """Report the finished fraction of this step."""
        self.parent(self.start + self.share * fraction)
