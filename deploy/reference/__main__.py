"""Write every generated reference page and ``deploy/.env.example``: ``python -m deploy.reference [DOCS]``."""

import sys
from collections.abc import Callable
from pathlib import Path

from deploy.reference import cli, env_example, errors, http_api, python_api, settings

PAGES: dict[str, Callable[[], str]] = {
    "api-reference.md": http_api.page,
    "cli.md": cli.page,
    "settings.md": settings.page,
    "errors.md": errors.page,
    "python-api.md": python_api.page,
}
ENV_EXAMPLE = Path(__file__).parents[1] / ".env.example"


def main(docs: Path) -> None:
    """Write the pages into ``docs/reference``, and the example of settings."""
    for name, page in PAGES.items():
        (docs / "reference" / name).write_text(page())
    ENV_EXAMPLE.write_text(env_example.page())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
