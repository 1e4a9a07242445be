"""Add files from outside of ``docs/`` to the site, and rewrite the links to them.

The Markdown in the repository links to files relative to itself, so that it can be read in an editor or on a code host. The
site has another layout: the changelog and the model cards become pages.
"""

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PAGES_OUTSIDE_DOCS = {
    "CHANGELOG.md": "changelog.md",
    "CODE_OF_CONDUCT.md": "conduct.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "research/emoji/card.md": "reference/cards/emoji.md",
    "research/emoji_dit/card.md": "reference/cards/emoji_dit.md",
    "editor/emoji/features/unet_sae/README.md": "reference/cards/unet_sae.md",
    "editor/emoji/features/clip_sae/README.md": "reference/cards/clip_sae.md",
    "editor/emoji/features/diffc/README.md": "reference/cards/diffc.md",
    "editor/emoji/features/ip_adapter/README.md": "reference/cards/ip_adapter.md",
}
"""Path in the repository -> page of the site."""
LINK = re.compile(r"(\]\()([^)\s#]+)([^)\s]*\))")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from outside of ``docs/``."""
    for path, page in PAGES_OUTSIDE_DOCS.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite links that leave or enter ``docs/``."""
    sources = {uri: path for path, uri in PAGES_OUTSIDE_DOCS.items()}
    uri = page.file.src_uri
    source = sources.get(uri, f"docs/{uri}")

    def rewrite(match: re.Match[str]) -> str:
        target = os.path.normpath(os.path.join(os.path.dirname(source), match[2]))
        if "://" in match[2] or not (ROOT / target).exists():
            return match[0]
        in_site = PAGES_OUTSIDE_DOCS.get(target, target.removeprefix("docs/"))
        return f"{match[1]}{os.path.relpath(in_site, os.path.dirname(uri))}{match[3]}"

    return LINK.sub(rewrite, markdown)
