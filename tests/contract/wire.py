"""The agreed shape of every message: `python -m tests.contract.wire > tests/contract/wire.json`."""

import json
import sys
from pathlib import Path
from typing import Any

from service.api.openapi_examples import EXAMPLE_MODELS

FILE = Path(__file__).with_name("wire.json")
PUBLISHED_SEPARATELY = {"AuditReport"}
"""Models with a published schema of their own."""


def wire() -> dict[str, Any]:
    """Return each example message with all its fields, by schema name."""
    named = {type(one).__name__: one.model_dump(mode="json", by_alias=True) for one in EXAMPLE_MODELS}
    return {name: named[name] for name in sorted(set(named) - PUBLISHED_SEPARATELY)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(wire(), indent=1, ensure_ascii=False) + "\n")
