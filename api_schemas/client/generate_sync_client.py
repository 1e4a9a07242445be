"""Generate the synchronous client from the asynchronous one, so that the two cannot differ.

python api_schemas/client/generate_sync_client.py
"""

import re
from pathlib import Path

SOURCE, TARGET = (Path(__file__).with_name(name) for name in ("async_client.py", "sync_client.py"))
HEADER = (
    '"""The synchronous client, generated from `async_client.py` by `generate_sync_client.py`. Edit those instead."""\n'
)
REPLACEMENTS = (
    (r"import AsyncIterator, (Callable, Collection), (Sequence)$", r"import \1, Iterator, \2"),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bAsyncIterator\b", "Iterator"),
    (r"\bAsyncBaseTransport\b", "BaseTransport"),
    (r"\bAsync(Client|Edits|EditJob|Batches|Models|Webhooks)\b", r"\1"),
    (r"__a(enter|exit)__", r"__\1__"),
    (r"\ba(close|read|iter_lines|iter_bytes)\b", r"\1"),
    (r"\basyncio\.sleep\b", "time.sleep"),
    (r"^import asyncio$", "import time"),
)


def make_sync(source: str) -> str:
    """Return the source with `async` and `await` removed and the names of the synchronous classes."""
    body = source.partition('"""\n')[2]
    for pattern, replacement in REPLACEMENTS:
        body = re.sub(pattern, replacement, body, flags=re.MULTILINE)
    return HEADER + body


if __name__ == "__main__":
    TARGET.write_text(make_sync(SOURCE.read_text()))
