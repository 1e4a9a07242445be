"""What the pages of jobs show: the rail of phases, progress, and events in plain words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from fastapi.sse import format_sse_event

from api_schemas.events import Event
from api_schemas.jobs import TERMINAL_STATUSES, Edit, JobKind, Status
from service.api.event_stream import DONE_MESSAGE, EventBatch
from service.web.rendering import ENVIRONMENT

StepState: TypeAlias = Literal["done", "current", "failed", "waiting"]

PHASES: Mapping[JobKind, Sequence[tuple[str, str]]] = {
    "removal": (
        ("trace", "Trace the concept"),
        ("edit", "Solve the edit"),
        ("validate", "Validate with images"),
        ("publish", "Sign and publish"),
    ),
    "revocation": (("edit", "Solve without it"), ("publish", "Sign and publish")),
}
"""The phases of a job, in order, and what happens in them."""

ADVICE: Mapping[str, str] = {
    "internal_error": "Submit it again. If that fails too, send the job's id to the operator: the worker's log has the cause.",
    "attempts_exhausted": "Submit it again. If that fails too, the worker probably runs out of memory: ask the operator.",
    "time_limit_exceeded": "Submit it again with fewer prompts or seeds.",
    "cost_exceeded": "Submit it again with fewer prompts or seeds.",
    "ledger_moved": "Submit it again: another job changed the ledger in the meantime.",
}
"""What to do about an error of a job, by its code."""


@dataclass(frozen=True)
class PhaseStep:
    """A phase as the rail shows it."""

    label: str
    state: StepState


@dataclass(frozen=True)
class JobProgress:
    """What changes while a job runs."""

    kind: JobKind
    status: Status
    phase: str | None
    progress: float

    @classmethod
    def of(cls, edit: Edit) -> "JobProgress":
        """Return the progress of an edit."""
        return cls(edit.kind, edit.status, edit.phase, edit.progress)

    @property
    def finished(self) -> bool:
        """Whether the job has ended."""
        return self.status in TERMINAL_STATUSES

    @property
    def steps(self) -> list[PhaseStep]:
        """The rail of phases."""
        names = [name for name, _ in PHASES[self.kind]]
        current = names.index(self.phase) if self.phase in names else -1
        return [PhaseStep(label, self._state_of(index, current)) for index, (_, label) in enumerate(PHASES[self.kind])]

    def _state_of(self, index: int, current: int) -> StepState:
        if self.status == "succeeded" or index < current:
            return "done"
        if index > current:
            return "waiting"
        return "failed" if self.finished else "current"

    @property
    def sentence(self) -> str:
        """The state in one sentence, for people who do not see the rail."""
        labels = dict(PHASES[self.kind])
        if self.status == "running" and self.phase in labels:
            return f"{labels[self.phase]}, {self.progress:.0%} of the job is done."
        return SENTENCES[self.status]

    def after(self, event: Event) -> "JobProgress":
        """Return the progress after an event."""
        known = {name: event.data[name] for name in ("status", "phase", "progress") if name in event.data}
        return replace(self, **known)


SENTENCES: Mapping[Status, str] = {
    "queued": "Waiting for a worker.",
    "running": "A worker has started.",
    "canceling": "Stopping.",
    "succeeded": "Finished.",
    "failed": "Failed.",
    "canceled": "Canceled.",
    "expired": "No worker started it in time.",
}


def logged_events(events: Sequence[Event]) -> list[Event]:
    """Return the events that the log shows: all but mere progress."""
    return [event for event in events if event.type != "progress"]


class LiveEncoder:
    """Encodes batches of events as server-sent events with HTML, which htmx swaps into the job's page.

    `status` and `progress` replace the badge, the rail and the bar, and `log` is appended to the list of events. Screen
    readers speak `announce` alone, which is sent when a phase begins and when the job ends. At `samples` the page asks for
    the new images.
    """

    def __init__(self, progress: JobProgress) -> None:
        self._progress = progress

    def __call__(self, batch: EventBatch) -> Iterator[bytes]:
        """Yield the messages of a batch, the last of which has the number of its last event as id."""
        spoken = self._progress.phase, self._progress.status
        for event in batch.events:
            self._progress = self._progress.after(event)
        if logged := logged_events(batch.events):
            yield _encode("log", _render("fragments/events.html", events=logged))
        if spoken != (self._progress.phase, self._progress.status):
            yield _encode("announce", self._progress.sentence)
        if batch.events:
            yield _encode("status", _render("fragments/status.html", status=self._progress.status))
            html = _render("fragments/progress.html", progress=self._progress)
            yield _encode("progress", html, number=batch.events[-1].seq)
        if any("samples" in event.data for event in batch.events):
            yield _encode("samples", "{}")
        if batch.complete:
            yield DONE_MESSAGE


def _render(template: str, **context: object) -> str:
    return ENVIRONMENT.get_template(template).render(context)


def _encode(name: str, html: str, number: int | None = None) -> bytes:
    return format_sse_event(event=name, data_str=html, id=None if number is None else str(number))
