"""What a crowd of clients does most, posting edits, asking how they stand and following them: who come together share a
transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, cast

from fastapi import Depends, Request

from service.api.event_stream import News, Seat, look_on
from service.core import edits
from service.core.app_state import Backend
from service.core.batcher import Gathering
from service.core.edits import Asked, Submission
from service.errors import no_edit
from service.store import jobs
from service.store.orm import Job


@dataclass(frozen=True)
class Wanted:
    """An edit that somebody asks for."""

    tenant: str
    edit_id: str


@dataclass(frozen=True)
class Together:
    """One application's."""

    submit: Gathering[Asked, Submission]
    look: Gathering[Wanted, Job]
    follow: Gathering[Seat, News]

    @classmethod
    def of(cls, backend: Backend) -> "Together":
        """On top of `backend`."""
        return cls(
            Gathering(partial(edits.submit_all, backend)),
            Gathering(partial(look_up, backend)),
            Gathering(partial(look_on, backend)),
        )


def look_up(backend: Backend, wanted: Sequence[Wanted]) -> list[Job | Exception]:
    """Each as it is now. Outcomes that are raised: `NotFound`."""
    with backend.database.read() as session:
        rows = {(job.tenant, job.id): job for job in jobs.edits(session, {one.edit_id for one in wanted})}
    return [rows.get((one.tenant, one.edit_id)) or no_edit(one.edit_id) for one in wanted]


async def _together(request: Request) -> Together:
    return cast(Together, request.app.state.together)


TogetherDep = Annotated[Together, Depends(_together)]
