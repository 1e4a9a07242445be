"""A request from end to end, in phases that leave their results in a folder: trace, edit, validate, publish.

Each phase writes its result atomically and last, so a job that was killed resumes at the phase it was in. The worker and
``expunge erase`` both run this.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, RootModel
from safetensors.torch import load_file, save

from api_schemas.conflicts import Conflict
from api_schemas.edits import EditRequest
from api_schemas.report import (
    AuditReport,
    NameRecord,
    RemovalRecord,
    SamplerRecord,
    SolveRecord,
    TraceRecord,
    Validation,
    Verdict,
)
from editor import emoji
from editor.checkpoints import Checkpoint, TextEncoder, open_checkpoint
from editor.checkpoints.module import load_module
from editor.foresight import FORESEEN, edit_all, edits_of, foreseen_changes
from editor.judging.groups import all_groups, neighbours
from editor.judging.judge import Judge, open_judge
from editor.judging.sampling import ImageCache, Sampler, load_pipeline, native_precision
from editor.judging.sheets import sheets
from editor.judging.statistics import overall
from editor.judging.validation import draw_all, judged, shots_of
from editor.ledger import Entry, Ledger, LedgerFolder, all_removed, entries_of
from editor.limits import known_limits, not_tested
from editor.prompts import PromptBook, Removal, expand, open_books
from editor.publishing import delivery
from editor.publishing.atomic import write_bytes
from editor.publishing.delivery import ArtifactFile, published_report
from editor.publishing.figures import Picture
from editor.publishing.package import DELTA, publish
from editor.quickfix.edit import WORST, Edit
from editor.quickfix.method import method_of
from editor.quickfix.update import TensorUpdate, update_of
from editor.reporting import model_record, software, weights_digests
from editor.requests import resolve
from editor.tracing.auto import layers_by_trace
from editor.tracing.trace import trace

PHASES: tuple[str, ...] = ("trace", "edit", "validate", "publish")
Progress = Callable[[str, float, str], None]
"""Phase, finished fraction of it, message. May raise to stop the job."""
Traces = RootModel[list[TraceRecord]]
MaybeValidation = RootModel[Validation | None]
Captions = RootModel[list[tuple[str, str, str]]]
"""Name, caption and alternative text of kept pictures."""


class Edited(BaseModel):
    """The edit phase's result beside its tensors."""

    removals: list[RemovalRecord]
    solves: list[SolveRecord]
    ledger: Ledger | None = None
    """As it will stand once this is delivered."""
    warnings: list[Conflict] = []
    """How the request and the ledger get in one another's way; not for the report, which names nobody else's removals."""


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

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The base model, opened lazily."""
        return open_checkpoint(self.model_dir)

    @property
    def source(self) -> TextEncoder:
        """Its first text encoder."""
        return self.checkpoint.encoders[0]

    @cached_property
    def books(self) -> list[PromptBook]:
        """The prompts of each of its text encoders."""
        return open_books(self.checkpoint)

    @property
    def book(self) -> PromptBook:
        """Those of the first."""
        return self.books[0]

    @cached_property
    def removals(self) -> list[Removal]:
        """What is removed."""
        return resolve(self.request, self.book, each_alone=self.ledger is not None)

    @cached_property
    def entries(self) -> list[Entry]:
        """The same for a ledger."""
        return entries_of(self.request, self.label, self.now)

    @cached_property
    def judge(self) -> Judge:
        """Who judges."""
        return open_judge(judge_folder(), self.model_dir, self.book.profile)

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


def run_phase(phase: str, context: JobContext) -> None:
    """Run one phase. Running it again changes nothing but the time it takes."""
    {"trace": run_trace, "edit": run_edit, "validate": run_validate, "publish": run_publish}[phase](context)


def keep(context: JobContext, phase: str, result: BaseModel) -> None:
    """Write a phase's result."""
    write_bytes(context.result(phase), result.model_dump_json().encode())


def run_trace(context: JobContext) -> None:
    """Trace each concept; without validation there is no judge to read out by, and nothing is traced.

    A ledger that would not take the removals says so first.
    """
    in_ledger(context)
    traces = []
    if context.request.validation.enabled:
        encoder = load_module(context.source)
        for index, removal in enumerate(context.removals):
            tick = context.tick("trace", f"tracing {removal.concept.name}")
            seed = context.request.seed
            traces.append(trace(encoder, context.book, context.judge, context.removals, index, seed, tick))
    keep(context, "trace", Traces(traces))


def run_edit(context: JobContext) -> None:
    """Solve for the updates of every text encoder."""
    context.progress("edit", 0.0, "solving")
    ledger, warnings = in_ledger(context)
    edits = solved(context, ledger)
    factors = {f"{i}.{side}": getattr(done.update, side) for i, done in enumerate(edits) for side in ("up", "down")}
    write_bytes(context.workdir / "edit.safetensors", save(factors))
    removed = all_removed(context.removals, context.entries, ledger, context.book)
    done = Edited(
        removals=[described(context, removal, removed) for removal in context.removals],
        solves=with_forecast(context, edits, removed),
        ledger=ledger,
        warnings=warnings,
    )
    keep(context, "edit", done)
    context.progress("edit", 1.0, "solved")


def in_ledger(context: JobContext) -> tuple[Ledger | None, list[Conflict]]:
    """The ledger as it will stand, if there is one, and what gets in the request's way there."""
    if context.ledger is None:
        return None, []
    return LedgerFolder(context.ledger).with_entries(context.checkpoint, context.entries)


def solved(context: JobContext, ledger: Ledger | None) -> list[Edit]:
    """The edits, together with all that the ledger holds if there is one."""
    if context.ledger and ledger:
        return LedgerFolder(context.ledger).solve(ledger, context.checkpoint, context.entries)
    method = method_of(context.request.options, *chosen_layers(context))
    return edit_all(context.checkpoint, context.books, context.removals, method)


def with_forecast(context: JobContext, edits: Sequence[Edit], removed: Sequence[Removal]) -> list[SolveRecord]:
    """The records, with what retain prompts in held-out wordings are to expect."""
    records = []
    for encoder, book in zip(context.checkpoint.encoders, context.books, strict=True):
        own = edits_of(encoder, edits)
        foreseen = foreseen_changes(encoder, book, own, book.held_out_retain(removed, FORESEEN))[:WORST]
        records += [done.record.model_copy(update={"foreseen": foreseen}) for done in own]
    return records


def chosen_layers(context: JobContext) -> tuple[tuple[int, ...], str]:
    """The layers to edit, and why."""
    sites = context.request.options.sites
    if sites != "auto":
        return tuple(sites), "as was asked"
    return layers_by_trace(Traces.model_validate_json(context.result("trace").read_bytes()).root)


def described(context: JobContext, removal: Removal, removed: Sequence[Removal]) -> RemovalRecord:
    """A removal for the report."""
    objects, styles = context.book.kept_names(removed)
    kept = objects if removal.concept.kind == "object" else styles
    paper = context.request.options.preset == "paper"
    pairs = context.book.paper_pairs(removal) if paper else context.book.edit_pairs(removal)
    return RemovalRecord(
        concept=removal.concept.name,
        kind=removal.concept.kind,
        destination=removal.destination.words,
        destination_source=removal.destination.source,
        aliases=list(removal.aliases),
        names=[NameRecord(text=name.text, source=name.source) for name in expand(removal, context.book).names],
        edit_prompts=[pair.concept.text for pair in pairs],
        neighbours=neighbours(context.judge, removal, kept) if context.request.validation.enabled else [],
    )


def edited(context: JobContext) -> Edited:
    """The edit phase's result."""
    return Edited.model_validate_json(context.result("edit").read_bytes())


def updates(context: JobContext) -> list[TensorUpdate]:
    """The edit phase's updates, read back."""
    factors = load_file(context.workdir / "edit.safetensors")
    encoders = {encoder.component: encoder for encoder in context.checkpoint.encoders}
    return [
        update_of(encoders[solve.component], solve.tensor, factors[f"{i}.up"], factors[f"{i}.down"])
        for i, solve in enumerate(edited(context).solves)
    ]


def run_validate(context: JobContext) -> None:
    """Draw before and after, judge, and keep sample sheets."""
    asked = context.request.validation
    if not asked.enabled:
        keep(context, "validate", MaybeValidation(None))
        return
    removed = all_removed(context.removals, context.entries, edited(context).ledger, context.book)
    groups = all_groups(context.book, context.judge, context.removals, asked.retain_prompts, removed)
    seeds = [context.request.seed + i for i in range(asked.seeds)]
    pipeline, sampler = load_pipeline(context.model_dir), Sampler(asked.steps, asked.guidance, native_precision())
    cache = ImageCache(context.cache_dir / "images", context.model_digest)
    drawn = draw_all(
        pipeline, updates(context), cache, sampler, shots_of(groups, seeds), context.tick("validate", "drawing")
    )
    record = SamplerRecord(scheduler=type(pipeline.scheduler).__name__, seeds=seeds, **asdict(sampler))
    keep_pictures(context.workdir / "sheets", sheets(groups, drawn, seeds[0]))
    keep(context, "validate", MaybeValidation(judged(context.judge, groups, drawn, record, asked.thresholds)))


def keep_pictures(folder: Path, pictures: Sequence[Picture]) -> None:
    """Write pictures and their captions."""
    for picture in pictures:
        write_bytes(folder / f"{picture.name}.png", picture.png)
    captions = Captions([(picture.name, picture.caption, picture.alt) for picture in pictures])
    write_bytes(folder / "captions.json", captions.model_dump_json().encode())


def kept_pictures(folder: Path) -> list[Picture]:
    """Read them back; none where nothing was drawn."""
    path = folder / "captions.json"
    captions = Captions.model_validate_json(path.read_bytes()).root if path.is_file() else []
    return [Picture(name, (folder / f"{name}.png").read_bytes(), caption, alt) for name, caption, alt in captions]


def run_publish(context: JobContext) -> None:
    """Write the artifacts and, last, the report that lists them."""
    context.progress("publish", 0.0, "writing the files")
    publish(
        draft(context),
        updates(context),
        context.model_dir,
        kept_pictures(context.workdir / "sheets"),
        context.out,
        full=not context.delta_only,
    )
    context.progress("publish", 1.0, "written")


def validation_of(context: JobContext) -> Validation | None:
    """The validate phase's result."""
    return MaybeValidation.model_validate_json(context.result("validate").read_bytes()).root


def draft(context: JobContext) -> AuditReport:
    """The report, but for its list of files."""
    done = edited(context)
    return AuditReport(
        job_id=context.job_id,
        created_at=context.now,
        model=model_record(context.request.model, context.checkpoint, context.files),
        removals=done.removals,
        solves=done.solves,
        traces=Traces.model_validate_json(context.result("trace").read_bytes()).root,
        ledger=done.ledger.record() if done.ledger else None,
        validation=validation_of(context),
        verdict=verdict(context),
        limits=known_limits(done.removals, context.checkpoint.second_ways),
        untested=not_tested(context.request.validation),
        artifacts=[],
        software=software(),
    )


def verdict(context: JobContext) -> Verdict | None:
    """What the checks add up to; None without validation."""
    validation = validation_of(context)
    return overall([check.outcome for check in validation.checks]) if validation else None


def published(context: JobContext) -> AuditReport:
    """The publish phase's result."""
    return published_report(context.out)


def artifacts(context: JobContext) -> tuple[ArtifactFile, ...]:
    """Every published file, the report last."""
    return delivery.artifacts(context.out)


def deliver(context: JobContext, out: Path) -> list[Path]:
    """Copy the artifacts to a folder, the report last: a folder with a ``report.json`` is complete. Then the ledger says so.

    Raises:
        LedgerError: somebody else changed the ledger meanwhile. Nothing is delivered then.
    """
    ledger = edited(context).ledger
    if not (context.ledger and ledger):
        return delivery.deliver(context.out, context.model_dir, out)

    def change(now: Ledger) -> Ledger:
        return now.add(context.entries)

    with LedgerFolder(context.ledger).committing(context.checkpoint, change, ledger, context.out / DELTA):
        return delivery.deliver(context.out, context.model_dir, out)
