"""What a crowd of clients does most, posting edits, asking how they stand and following them: who come together share a
transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, cast

from fastapi import Depends, Request

from service import acceptance
from service.acceptance import Asked
from service.backend import Backend
from service.errors import no_edit
from service.gathering import Gathering
from service.store import jobs
from service.store.schema import Job
from service.streams import News, Seat, look_on
from service.submissions import Submission


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
            Gathering(partial(acceptance.submit_all, backend)),
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
