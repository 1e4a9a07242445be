"""ORM classes of what operators watch and control."""

from datetime import datetime

from sqlalchemy import JSON
from sqlalchemy.orm import Mapped, mapped_column

from service.store.orm_base import Base


class PausedQueue(Base):
    """A queue of which workers claim no jobs. `actor` is the API key that paused it."""

    __tablename__ = "paused_queues"

    name: Mapped[str] = mapped_column(primary_key=True)
    actor: Mapped[str]
    paused_at: Mapped[datetime]


class WorkerPresence(Base):
    """A worker process, which reports at an interval. `stopped_at` is set when it ends in order."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(primary_key=True)
    queues: Mapped[list[str]] = mapped_column(JSON)
    version: Mapped[str]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    stopped_at: Mapped[datetime | None]
