"""Whole jobs with a small trace: few prompts, corruptions and prompts to fit the read-out with."""

from collections.abc import Iterator

import pytest

from editor.tracing import default_trace, readouts


@pytest.fixture(scope="session", autouse=True)
def _small_trace() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(default_trace, "MAX_PROMPTS", 4)
        patch.setattr(default_trace, "CORRUPTION_DRAWS", 2)
        patch.setattr(readouts, "FIT_PROMPTS", 60)
        yield
