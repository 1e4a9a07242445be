"""Template filters: how dates, numbers and states are written on every page."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from markupsafe import Markup


def format_time(moment: datetime | None) -> Markup:
    """Return a `<time>` element in UTC to the second, or a dash."""
    if moment is None:
        return Markup("–")
    return Markup('<time datetime="{}">{}</time>').format(
        moment.isoformat(timespec="seconds"), moment.strftime("%Y-%m-%d %H:%M:%S UTC")
    )


def format_bytes(size: int) -> str:
    """Return a size such as `12.3 MB`, in powers of 1000."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}" if unit != "B" else f"{size} B"
        amount /= 1000
    return f"{amount:.3g} TB"


def format_duration(seconds: float | None) -> str:
    """Return a duration such as `4 s`, `2 min 5 s` or `1 h 3 min`, or a dash."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def as_sentence(text: str) -> str:
    """Return the text with a capital letter and a full stop."""
    text = text.strip()
    return text and text[0].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def name_rows(text: str) -> str:
    """Replace the API's names of removals, such as `removals[0]`, by row numbers."""
    return re.sub(r"removals\[(\d+)\]", lambda found: f"row {int(found[1]) + 1}", text)


def name_slots(text: str) -> str:
    """Replace the slots of a reason template, such as `{work_count}`, by what their fields are called, `[work count]`."""
    return re.sub(r"\{(\w+)\}", lambda found: f"[{found[1].replace('_', ' ')}]", text)


FILTERS: Mapping[str, Callable[..., Any]] = {
    "time": format_time,
    "bytes": format_bytes,
    "duration": format_duration,
    "sentence": as_sentence,
    "rows": name_rows,
    "slots": name_slots,
}
