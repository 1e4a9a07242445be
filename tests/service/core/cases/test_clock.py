"""Deadlines on calendars: elapsed hours, business days with holidays, months of the European Union."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.cases.bases import load_rules
from service.core.cases.clock import Calendar, Rule, due

BRUSSELS, NEW_YORK, UTC_ZONE = (ZoneInfo(name) for name in ("Europe/Brussels", "America/New_York", "UTC"))
ZONES = st.sampled_from([BRUSSELS, NEW_YORK, UTC_ZONE, ZoneInfo("Asia/Kolkata"), ZoneInfo("Pacific/Apia")])
EPOCH = datetime(2015, 1, 1, tzinfo=UTC)
STARTS = st.timedeltas(timedelta(0), timedelta(days=10_950)).map(lambda passed: EPOCH + passed)
HOLIDAYS = st.frozensets(st.dates(date(2015, 1, 1), date(2046, 1, 1)), max_size=40)
CALENDARS = st.builds(Calendar, ZONES, HOLIDAYS)
RULES = st.builds(Rule, st.integers(1, 60), st.sampled_from(["hours", "business days", "months"]))


@given(RULES, STARTS, CALENDARS)
def test_a_deadline_is_after_its_start_and_in_utc(rule: Rule, start: datetime, calendar: Calendar) -> None:
    end = due(rule, start, calendar)
    assert end > start
    assert end.tzinfo is UTC
    assert due(Rule.parse(str(rule)), start, calendar) == end


@given(RULES, STARTS, st.timedeltas(timedelta(0), timedelta(days=90)), CALENDARS)
def test_a_later_start_is_never_due_earlier(rule: Rule, start: datetime, delay: timedelta, calendar: Calendar) -> None:
    assert due(rule, start, calendar) <= due(rule, start + delay, calendar)


@given(st.integers(1, 2000), STARTS, CALENDARS)
def test_hours_are_elapsed_time(amount: int, start: datetime, calendar: Calendar) -> None:
    local = start.astimezone(calendar.zone)
    assert due(Rule(amount, "hours"), local, calendar) - start == timedelta(hours=amount)


@given(st.integers(1, 60), STARTS, CALENDARS)
def test_business_days_are_counted_without_the_first_day(amount: int, start: datetime, calendar: Calendar) -> None:
    end = due(Rule(amount, "business days"), start, calendar).astimezone(calendar.zone)
    day, last, counted = start.astimezone(calendar.zone).date(), (end - timedelta(seconds=1)).date(), 0
    while day < last:
        day += timedelta(days=1)
        counted += calendar.is_working_day(day)
    assert (counted, calendar.is_working_day(last)) == (amount, True)


@given(st.integers(1, 60), STARTS, CALENDARS)
def test_months_end_on_a_working_day(amount: int, start: datetime, calendar: Calendar) -> None:
    last = due(Rule(amount, "months"), start, calendar).astimezone(calendar.zone) - timedelta(seconds=1)
    first = start.astimezone(calendar.zone)
    assert calendar.is_working_day(last.date())
    months = 12 * (last.year - first.year) + last.month - first.month
    assert months >= amount
    if last.day == first.day and months == amount:
        return
    skipped = [last.date() - timedelta(days=back) for back in range(1, 60)]
    nominal = [day for day in skipped if (day.day == first.day or _ends_month(day)) and day.day <= first.day]
    moved = next(
        (day for day in nominal if 12 * (day.year - first.year) + day.month - first.month == amount), last.date()
    )
    assert not any(calendar.is_working_day(day) for day in skipped if moved <= day)


def _ends_month(day: date) -> bool:
    return (day + timedelta(days=1)).day == 1


@pytest.mark.parametrize(
    ("rule", "start", "zone", "expected"),
    [
        ("48 hours", "2026-03-28T12:00:00+00:00", BRUSSELS, "2026-03-30T12:00:00+00:00"),  # across summer time
        ("1 month", "2026-01-31T10:00:00+00:00", BRUSSELS, "2026-03-02T23:00:00+00:00"),  # 28 February is a Saturday
        ("1 month", "2028-01-31T10:00:00+00:00", BRUSSELS, "2028-02-29T23:00:00+00:00"),  # a leap year
        ("1 month", "2026-04-30T22:30:00+00:00", BRUSSELS, "2026-06-01T22:00:00+00:00"),  # 1 May in Brussels
        ("10 business days", "2026-11-20T04:00:00+00:00", NEW_YORK, "2026-12-04T05:00:00+00:00"),
        ("1 business day", "2026-05-01T12:00:00+00:00", UTC_ZONE, "2026-05-05T00:00:00+00:00"),  # a Friday
    ],
)
def test_known_dates(rule: str, start: str, zone: ZoneInfo, expected: str) -> None:
    found = due(Rule.parse(rule), datetime.fromisoformat(start), Calendar(zone))
    assert found == datetime.fromisoformat(expected)


def test_national_holidays_are_no_business_days() -> None:
    rules, received = load_rules(None), datetime(2026, 11, 20, 4, tzinfo=UTC)  # the evening of 19 November in New York
    assert rules.due("us-dmca", "restore_not_before", received) == datetime(2026, 12, 5, 5, tzinfo=UTC)  # Thanksgiving


@pytest.mark.parametrize(
    "text", ["", "48", "0 hours", "-1 hours", "48 Hours", "1 fortnight", "1.5 hours", "99999 hours"]
)
def test_malformed_rules_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="number of hours"):
        Rule.parse(text)
