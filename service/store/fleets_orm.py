"""ORM classes of fleets."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from service.store.orm_base import Base


class Fleet(Base):
    """One decision for many models. `statement_job_id` is the job that signs its statement."""

    __tablename__ = "fleets"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(index=True)
    api_key_id: Mapped[str]
    request: Mapped[dict[str, Any]]
    request_digest: Mapped[str]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None] = mapped_column(index=True)
    statement_job_id: Mapped[str | None]


class FleetTarget(Base):
    """A model of a fleet. `group_key` is equal for targets that get the same delta."""

    __tablename__ = "fleet_targets"

    fleet_id: Mapped[str] = mapped_column(ForeignKey("fleets.id"), primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    group_key: Mapped[str]
    state: Mapped[str]
    edit_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"), index=True)
    carried_from: Mapped[str | None]
    error: Mapped[dict[str, Any] | None]
