"""Metrics of takedown cases. They have no label by case or by what a case is about."""

from collections.abc import Iterator
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.store.cases import DUTIES
from service.store.cases_orm import Case, CaseDeadline


def collect_cases(session: Session, now: datetime) -> Iterator[Metric]:
    """Yield the metrics of cases."""
    cases = GaugeMetricFamily("expunge_cases", "Takedown cases by state.", labels=["state"])
    for state, count in session.execute(select(Case.state, func.count()).group_by(Case.state)):
        cases.add_metric([state], count)
    due = GaugeMetricFamily(
        "expunge_case_due_seconds", "Seconds until the next duty of a case is due; negative: overdue.", labels=["basis"]
    )
    duties = select(CaseDeadline.basis, func.min(CaseDeadline.due_at)).where(CaseDeadline.kind.in_(DUTIES))
    for basis, at in session.execute(duties.where(CaseDeadline.met_at.is_(None)).group_by(CaseDeadline.basis)):
        due.add_metric([basis], (at - now).total_seconds())
    missed = CounterMetricFamily("expunge_deadlines_missed", "Missed deadlines of cases.", labels=["basis"])
    overdue = select(CaseDeadline.basis, func.count()).where(CaseDeadline.missed_at.is_not(None))
    for basis, count in session.execute(overdue.group_by(CaseDeadline.basis)):
        missed.add_metric([basis], count)
    yield from (cases, due, missed)
