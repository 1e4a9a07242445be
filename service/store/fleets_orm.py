"""ORM classes of fleets."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from service.store.orm_base import Base


class Fleet(Base):
    """One decision for many models. `statement_job_id` is the job that signs its statement.

    A fleet that `follows` adds models that are registered later.
    """

    __tablename__ = "fleets"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(index=True)
    api_key_id: Mapped[str]
    request: Mapped[dict[str, Any]]
    request_digest: Mapped[str]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None] = mapped_column(index=True)
    statement_job_id: Mapped[str | None]
    follows: Mapped[bool] = mapped_column(default=False)


class FleetTarget(Base):
    """A model of a fleet. `group_key` is equal for targets that get the same delta.

    A target was `followed` if it was added after the fleet was created: it is served only when its edit is in force.
    """

    __tablename__ = "fleet_targets"

    fleet_id: Mapped[str] = mapped_column(ForeignKey("fleets.id"), primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    group_key: Mapped[str]
    state: Mapped[str]
    edit_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"), index=True)
    carried_from: Mapped[str | None]
    error: Mapped[dict[str, Any] | None]
    followed: Mapped[bool] = mapped_column(default=False)
