"""Write every generated reference page: ``python -m deploy.reference [DOCS]``."""

import sys
from collections.abc import Callable
from pathlib import Path

from deploy.reference import cli, errors, http_api, settings

PAGES: dict[str, Callable[[], str]] = {
    "api-reference.md": http_api.page,
    "cli.md": cli.page,
    "settings.md": settings.page,
    "errors.md": errors.page,
}


def main(docs: Path) -> None:
    """Write the pages into ``docs/reference``."""
    for name, page in PAGES.items():
        (docs / "reference" / name).write_text(page())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
