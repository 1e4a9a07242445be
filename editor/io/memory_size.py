"""Amounts of memory, as people write them."""

import re

from api_schemas.errors import UsageError

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}


def parse_memory(text: str, field: str = "memory") -> int:
    """Parse an amount of memory, such as ``"2GB"``, to bytes.

    Raises:
        UsageError: the text is not an amount of memory.
    """
    match = re.fullmatch(r"\s*([0-9.]+)\s*([KMG]?I?)B?\s*", text.upper())
    if not match or not float(match[1]):
        raise UsageError(
            f"{text!r} is not an amount of memory.", field=field, remedy='Use a form such as "500MB" or "2GB".'
        )
    return int(float(match[1]) * UNITS[match[2]])
