"""Generate the synchronous client from the asynchronous one, so that the two cannot differ.

python api_schemas/client/generate_sync_client.py
"""

import re
from pathlib import Path

FOLDER = Path(__file__).parent
TARGETS = {
    FOLDER / f"async_{part}.py": FOLDER / f"sync_{part}.py"
    for part in ("connection", "cases", "models", "fleets", "previews", "client")
}
"""The generated file of each source."""
HEADER = '"""The synchronous {part}, generated from `{source}` by `generate_sync_client.py`. Edit those instead."""\n'
REPLACEMENTS = (
    (r"import AsyncIterator, (Callable(?:, Collection)?), (Sequence)$", r"import \1, Iterator, \2"),
    (r"import AsyncIterator, Callable$", "import Callable, Iterator"),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bAsyncIterator\b", "Iterator"),
    (r"\bAsyncBaseTransport\b", "BaseTransport"),
    (r"\bAsync(Connection|Client|Edits|EditJob|CalibrationJob|Batches|Cases|Fleets|Models|Previews|Webhooks)\b", r"\1"),
    (r"\basync_(cases|connection|fleets|models|previews)\b", r"sync_\1"),
    (r"__a(enter|exit)__", r"__\1__"),
    (r"\ba(close|read|iter_lines|iter_bytes)\b", r"\1"),
    (r"\basyncio\.sleep\b", "time.sleep"),
    (r"^import asyncio$", "import time"),
)


def make_sync(source: Path) -> str:
    """Return the source with `async` and `await` removed and the names of the synchronous classes."""
    body = source.read_text().partition('"""\n')[2]
    for pattern, replacement in REPLACEMENTS:
        body = re.sub(pattern, replacement, body, flags=re.MULTILINE)
    return HEADER.format(part=source.stem.removeprefix("async_"), source=source.name) + body


if __name__ == "__main__":
    for source, target in TARGETS.items():
        target.write_text(make_sync(source))
