"""What a crowd of clients does most, posting edits and asking how they stand: who come together share a transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, cast

from fastapi import Depends, Request

from service import acceptance
from service.acceptance import Asked
from service.backend import Backend
from service.errors import NotFound
from service.gathering import Gathering
from service.store import jobs
from service.store.schema import Job
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

    @classmethod
    def of(cls, backend: Backend) -> "Together":
        """On top of `backend`."""
        return cls(Gathering(partial(acceptance.submit_all, backend)), Gathering(partial(look_up, backend)))


def look_up(backend: Backend, wanted: Sequence[Wanted]) -> list[Job | Exception]:
    """Each as it is now. Outcomes that are raised: `NotFound`."""
    with backend.database.read() as session:
        rows = {(job.tenant, job.id): job for job in jobs.edits(session, {one.edit_id for one in wanted})}
    return [rows.get((one.tenant, one.edit_id)) or no_edit(one.edit_id) for one in wanted]


def no_edit(edit_id: str) -> NotFound:
    """For who asks for what is not there, or not his."""
    return NotFound(f'there is no edit "{edit_id}".', remedy="GET /v1/edits lists yours.")


async def _together(request: Request) -> Together:
    return cast(Together, request.app.state.together)


TogetherDep = Annotated[Together, Depends(_together)]
