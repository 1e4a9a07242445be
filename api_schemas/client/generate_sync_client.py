"""The blocking client, written from the one for asyncio, so that the two can't differ.

python api_schemas/client/generate_sync_client.py
"""

import re
from pathlib import Path

SOURCE, TARGET = (Path(__file__).with_name(name) for name in ("aio.py", "blocking.py"))
HEAD = '"""The blocking client. Written from `aio.py` by `python api_schemas/client/generate_sync_client.py`; change that."""\n'
WORDS = (
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


def blocking(source: str) -> str:
    """The source without its waiting."""
    body = source.partition('"""\n')[2]
    for pattern, word in WORDS:
        body = re.sub(pattern, word, body, flags=re.MULTILINE)
    return HEAD + body


if __name__ == "__main__":
    TARGET.write_text(blocking(SOURCE.read_text()))
