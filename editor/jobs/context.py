"""What every phase of a job is given, and where it leaves its result."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel

from api_schemas.edits import EditRequest
from editor import emoji
from editor.checkpoints import Checkpoint, TextEncoder, open_checkpoint
from editor.io.atomic import write_bytes
from editor.judging.judge import Judge, open_judge
from editor.ledger import LedgerEntry, entries_from_request
from editor.prompts import PromptBuilder, ResolvedRemoval, open_prompt_builders
from editor.prompts.resolve_request import resolve_request
from editor.publishing.provenance import weights_digests

Progress = Callable[[str, float, str], None]
"""Phase, finished fraction of it, message. May raise to stop the job."""


@dataclass(frozen=True)
class JobContext:
    """What every phase is given."""

    request: EditRequest
    model_dir: Path
    workdir: Path
    cache_dir: Path
    progress: Progress
    job_id: str
    now: datetime
    delta_only: bool = False
    """No full weights are published."""
    ledger: Path | None = None
    """The folder of a ledger that the removals are added to; all that it holds are solved together."""
    label: str = ""
    """What the caller calls this request there."""
    signing_dir: Path | None = None
    """The folder of keys whose newest one signs what is published; ``EXPUNGE_SIGNING_KEY`` goes before it."""

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The base model, opened lazily."""
        return open_checkpoint(self.model_dir)

    @property
    def source(self) -> TextEncoder:
        """Its first text encoder."""
        return self.checkpoint.encoders[0]

    @cached_property
    def builders(self) -> list[PromptBuilder]:
        """The prompts of each of its text encoders."""
        return open_prompt_builders(self.checkpoint)

    @property
    def builder(self) -> PromptBuilder:
        """Those of the first."""
        return self.builders[0]

    @cached_property
    def removals(self) -> list[ResolvedRemoval]:
        """What is removed."""
        return resolve_request(self.request, self.builder, each_alone=self.ledger is not None)

    @cached_property
    def entries(self) -> list[LedgerEntry]:
        """The same for a ledger."""
        return entries_from_request(self.request, self.label, self.now)

    @cached_property
    def judge(self) -> Judge:
        """Who judges."""
        return open_judge(judge_folder(), self.model_dir, self.builder.profile)

    @cached_property
    def files(self) -> dict[str, str]:
        """Digest of each weights file of the base model."""
        return weights_digests(self.checkpoint)

    @property
    def model_digest(self) -> str:
        """One digest for all of them."""
        return hashlib.sha256(repr(sorted(self.files.items())).encode()).hexdigest()

    @property
    def out(self) -> Path:
        """Where the published files are made."""
        return self.workdir / "out"

    def result(self, phase: str) -> Path:
        """The file whose presence says that a phase is done."""
        return self.out / "report.json" if phase == "publish" else self.workdir / f"{phase}.json"

    def tick(self, phase: str, message: str) -> Callable[[float], None]:
        """A phase's progress as a function of the finished fraction alone."""
        return lambda done: self.progress(phase, done, message)


def judge_folder() -> Path:
    """The judge: ``EXPUNGE_JUDGE`` if set, else the embedded one, which knows emoji only."""
    return Path(os.environ.get("EXPUNGE_JUDGE") or emoji.JUDGE)


def finished(phase: str, context: JobContext) -> bool:
    """Whether the phase's result lies complete in the working folder."""
    return context.result(phase).is_file()


def keep(context: JobContext, phase: str, result: BaseModel) -> None:
    """Write a phase's result."""
    write_bytes(context.result(phase), result.model_dump_json().encode())
