"""Deadlines as a pure function of a rule, a start and a calendar.

Hours are elapsed time in UTC. Business days and months end with the last day's last hour at the calendar's place. The day on
which a period starts does not count; a month ends on the day with the same number, or on the month's last day, and moves to the
next working day (Regulation (EEC, Euratom) No 1182/71, Article 3).
"""

import calendar as months
import re
from collections.abc import Container
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, TypeAlias
from zoneinfo import ZoneInfo

Unit: TypeAlias = Literal["hours", "business days", "months"]
UNITS: dict[str, Unit] = {
    "hour": "hours",
    "hours": "hours",
    "business day": "business days",
    "business days": "business days",
    "month": "months",
    "months": "months",
}
SATURDAY, SUNDAY = 5, 6
MAX_AMOUNT = 10_000
_RULE = re.compile(r"([1-9][0-9]{0,3}) (hours?|business days?|months?)")


@dataclass(frozen=True)
class Rule:
    """A period, such as 48 hours, 10 business days or 1 month."""

    amount: int
    unit: Unit

    @classmethod
    def parse(cls, text: str) -> "Rule":
        """Parse a rule such as `48 hours`. Raises `ValueError`."""
        match = _RULE.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a number of hours, business days or months")
        return cls(int(match[1]), UNITS[match[2]])

    def __str__(self) -> str:
        return f"{self.amount} {self.unit.removesuffix('s') if self.amount == 1 else self.unit}"


@dataclass(frozen=True)
class Calendar:
    """The working days of a place."""

    zone: ZoneInfo
    holidays: Container[date] = field(default_factory=frozenset)
    weekend: frozenset[int] = frozenset({SATURDAY, SUNDAY})

    def is_working_day(self, day: date) -> bool:
        """Return whether the day is neither a holiday nor part of a weekend."""
        return day.weekday() not in self.weekend and day not in self.holidays

    def end_of(self, day: date) -> datetime:
        """Return the end of the day in UTC: the first instant of the next one."""
        return datetime.combine(day + timedelta(days=1), time.min, self.zone).astimezone(UTC)


def due(rule: Rule, start: datetime, calendar: Calendar) -> datetime:
    """Return when a period that starts at ``start`` ends, in UTC."""
    if rule.unit == "hours":
        return start.astimezone(UTC) + timedelta(hours=rule.amount)
    first = start.astimezone(calendar.zone).date()
    if rule.unit == "months":
        return calendar.end_of(_next_working_day(_same_day(first, rule.amount), calendar))
    day = first
    for _ in range(rule.amount):
        day = _next_working_day(day + timedelta(days=1), calendar)
    return calendar.end_of(day)


def _same_day(day: date, count: int) -> date:
    """Return the day with the same number ``count`` months later, or that month's last day."""
    years, month = divmod(day.month - 1 + count, 12)
    last = months.monthrange(day.year + years, month + 1)[1]
    return date(day.year + years, month + 1, min(day.day, last))


def _next_working_day(day: date, calendar: Calendar) -> date:
    while not calendar.is_working_day(day):
        day += timedelta(days=1)
    return day
