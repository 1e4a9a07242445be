"""The phases of an erasure: trace, edit, validate, publish."""

from dataclasses import dataclass
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api_schemas.plans import PlanEstimate
from api_schemas.report import AuditReport
from editor.generation.device import ComputeDevice
from editor.io.background import run_in_background
from editor.jobs.context import judge_folder
from editor.jobs.edit_phase import LedgerJoin, run_edit
from editor.jobs.job import Job
from editor.jobs.model import component_digests, images_digest
from editor.jobs.prerequisites import check_prerequisites
from editor.jobs.replacements import Replacements, rank_replacements
from editor.jobs.results import EditResult, TraceResult, ValidationResult
from editor.judging.policies import resolve_policy
from editor.ledger import Ledger, LedgerFolder, all_active_removals, entries_from_request, other_removals
from editor.methods.adjustments import SolveAdjustments
from editor.prompts import ResolvedRemoval
from editor.prompts.resolve_request import resolve_request
from editor.publishing import export
from editor.publishing.attestation.keys import open_signer
from editor.publishing.filenames import DELTA
from editor.sites.registry import name_sites

REFINING_FRACTION = 0.6
"""Finished fraction of the validate phase that rounds report: how many follow is not known."""

if TYPE_CHECKING:
    from editor.jobs.cost_estimate import GenerationCost
    from editor.jobs.publish_phase import Destination
    from editor.jobs.refinement import RefinedResult
    from editor.judging.deciding import Deciding
    from editor.judging.image_pairs import ImagePairGenerator
    from editor.judging.judge import Judge


@dataclass(frozen=True)
class EraseJob(Job):
    """The phases of an erasure. Each phase returns its stored result, or computes and stores it."""

    def trace(self) -> TraceResult:
        """Check that the job can run, fix its gates, and locate each concept in the text encoder."""
        return self.phases.run("trace", TraceResult, self._run_trace)

    def edit(self) -> EditResult:
        """Solve for the updates of every text encoder."""
        return self.phases.run("edit", EditResult, self._run_edit)

    def validate(self) -> ValidationResult:
        """Evaluate the edit on images of the base and the edited model, and strengthen it if it does not pass."""
        return self.phases.run("validate", ValidationResult, self._run_validate)

    def final_edit(self) -> EditResult:
        """The edit to publish: that of the edit phase, or the one that the closed loop found."""
        refined = self.refined()
        return refined.edit if refined and refined.edit else self.edit()

    def final_ledger(self) -> LedgerJoin | None:
        """The ledger that the request joins, with the parameters that the closed loop found."""
        refined = self.refined()
        return self.ledger.with_adjustments(refined.adjustments) if self.ledger and refined else self.ledger

    def refined(self) -> "RefinedResult | None":
        """The result of the closed loop; None if it did not run."""
        if not self.is_finished("refined"):
            return None
        from editor.jobs.refinement import RefinedResult

        return self.phases.run("refined", RefinedResult, missing_result)

    def publish(self) -> AuditReport:
        """Write the bundle and return its report."""
        return self.published_report() if self.is_finished("publish") else self._run_publish()

    def deliver(self, out: Path) -> list[Path]:
        """Copy the bundle to a folder, the report last, then commit the ledger.

        Raises:
            LedgerError: the ledger was changed since the edit phase. Nothing is delivered.
        """
        self.validate()
        context, ledger, solved = self.context, self.final_ledger(), self.final_edit().ledger
        if ledger is None or solved is None or self.validate().refusal:
            return export.deliver(context.out, context.model_dir, out)

        def add_entries(current: Ledger) -> Ledger:
            return current.add(ledger.entries)

        with ledger.folder.transaction(self.model.checkpoint, add_entries, solved, context.out / DELTA):
            return export.deliver(context.out, context.model_dir, out)

    def _run_trace(self) -> TraceResult:
        context, request = self.context, self.context.request
        with context.reporting("trace", "checking the request", share=0.0):
            check_prerequisites(context, self.model, self.ledger)
        policy = resolve_policy(request.validation)
        if not request.validation.enabled:
            return TraceResult(policy=policy)
        from editor.jobs.trace_phase import run_trace  # imports the tracer, which an edit alone does not need

        progress = partial(context.phase_progress, "trace")
        with context.reporting("trace", "reading the models", share=0.0):
            removals, judge = self.removals, self.judge
            estimate = self.estimate()
        context.report_estimate(estimate)
        traces = run_trace(self.model, removals, judge, request.seed, self.device, progress)
        return TraceResult(policy=policy, traces=traces, estimate=estimate)

    def _run_edit(self) -> EditResult:
        request, traces = self.context.request, self.trace().traces
        with self.context.reporting("edit", "solving"):
            self._prepare_publishing()
            judge = self.judge if request.validation.enabled else None
            return run_edit(
                request, self.model, self.removals, traces, self.ledger, judge, self.replacements.candidates
            )

    def _prepare_publishing(self) -> None:
        """Hash the model and import the plotting library in the background, while this thread solves."""
        _ = self.model.pending_digests
        run_in_background(partial(import_module, "editor.jobs.publish_phase"))

    def _run_validate(self) -> ValidationResult:
        request = self.context.request
        if not request.validation.enabled:
            return ValidationResult()
        from editor.judging.deciding import ALL_PROMPTS, FIRST_OF_TWO

        if not request.validation.budget.rounds:
            return self._validate_round(None, 0, ALL_PROMPTS)
        compute = partial(self._validate_round, None, 0, FIRST_OF_TWO)
        first = self.phases.run("first-validation", ValidationResult, compute)
        return first if first.verdict == "passed" else self._refine(first)

    def _refine(self, first: ValidationResult) -> ValidationResult:
        from editor.jobs.refinement import ClosedLoop, RefinedResult

        loop = ClosedLoop(
            request=self.context.request,
            model=self.model,
            removals=self.removals,
            removed=self._removed,
            policy=self.trace().policy,
            judge=self.judge,
            phases=self.phases,
            first_edit=self.edit(),
            solve=self._solve,
            images=self._image_generator,
            validate=self._validate_round,
            report=partial(self.context.progress, "validate", REFINING_FRACTION),
            estimate=self.trace().estimate,
            time_limit=self.context.time_limit,
        )
        return self.phases.run("refined", RefinedResult, partial(loop.run, first)).validation

    def _solve(self, adjustments: SolveAdjustments) -> EditResult:
        """Solve again with what the closed loop changed."""
        joined = self.ledger.with_adjustments(adjustments) if self.ledger else None
        candidates = self.replacements.candidates
        return run_edit(
            *(self.context.request, self.model, self.removals, self.trace().traces, joined, self.judge, candidates),
            adjustments,
        )

    @cached_property
    def _removed(self) -> list[ResolvedRemoval]:
        """Everything that the edited model should not generate."""
        entries = self.ledger.entries if self.ledger else []
        return all_active_removals(self.removals, entries, self.edit().ledger, self.model.prompts)

    def _validate_round(self, edit: EditResult | None, number: int, deciding: "Deciding") -> ValidationResult:
        """Validate the edit of a round; None is the first one."""
        from editor.jobs.validate_phase import run_validate  # imports diffusers and the judges

        context, request = self.context, self.context.request
        with context.reporting("validate", "reading the models", share=0.0):
            images = self._image_generator(edit, number)
        if request.validation.features and (source := context.published_calibrations):
            source.fetch(self.model.digest, context.calibrations / self.model.digest)
        result = run_validate(
            *(request, self.model, self.removals, self._removed, self.trace().policy, self.judge, images),
            context.calibrations,
            partial(context.phase_progress, "validate"),
            deciding,
        )
        return result.with_components(component_digests(context.components))

    def _run_publish(self) -> AuditReport:
        context = self.context
        traces, validation = self.trace().traces, self.validate()
        edit = self.final_edit()
        from editor.jobs.publish_phase import run_publish

        with context.reporting("publish", "writing the files"):
            return run_publish(context.request, self.model, edit, traces, validation, self._destination())

    @cached_property
    def removals(self) -> list[ResolvedRemoval]:
        """The request's removals, with their destinations."""
        builder, ledger = self.model.prompts, self.ledger
        others = (
            other_removals(ledger.entries, ledger.folder.read_for(self.model.checkpoint), builder) if ledger else []
        )
        return resolve_request(
            self.context.request,
            builder,
            each_alone=ledger is not None,
            candidates=self.replacements.names,
            others=others,
        )

    @property
    def replacements(self) -> Replacements:
        """The automatic replacements of the request's removals, ranked."""
        return self.phases.run("replacements", Replacements, self._rank_replacements)

    def _rank_replacements(self) -> Replacements:
        request, model = self.context.request, self.model
        if not any(requested.chooses_replacement for requested in request.removals):
            return Replacements()
        judge = self.judge if request.validation.enabled else None
        return rank_replacements(request, model.checkpoint, model.prompt_builders, judge)

    @cached_property
    def ledger(self) -> LedgerJoin | None:
        """The ledger that the request joins, if any."""
        context = self.context
        if context.ledger is None:
            return None
        options = name_sites(context.request.options, self.model.checkpoint)
        entries = entries_from_request(context.request, options, context.label, context.now, self.replacements.names)
        return LedgerJoin(LedgerFolder(context.ledger, context.profile), entries)

    @cached_property
    def judge(self) -> "Judge":
        """The judge of the images."""
        from editor.judging.judge import open_judge

        profile = self.model.prompts.profile
        return open_judge(judge_folder(), self.context.model_dir, profile, self.device.torch_device)

    @cached_property
    def device(self) -> ComputeDevice:
        """The device of text encoders, denoiser and judge. Raises DeviceError."""
        return self.context.device.resolve()

    def _image_generator(self, edit: EditResult | None = None, number: int = 0) -> "ImagePairGenerator":
        """Return what generates images before and after the edit of a round; None is the first one."""
        from editor.generation.sampling import ImageCache
        from editor.jobs.sampler_settings import choose_sampler
        from editor.judging.image_pairs import ImagePairGenerator

        context, options = self.context, self.context.request.validation
        pipeline = self._pipeline
        return ImagePairGenerator(
            pipeline=pipeline,
            updates=(edit or self.edit()).updates(self.model.checkpoint),
            sampler=choose_sampler(options, self.model.prompts.profile, pipeline, self.device),
            before=ImageCache(
                context.cache_dir / "images", images_digest(self.model, context.components), context.shared_images
            ),
            after=ImageCache(
                context.workdir / "images", f"{context.job_id}, round {number}" if number else context.job_id
            ),
            observe=context.show_images,
        )

    def estimate(self) -> PlanEstimate:
        """Return the cost of the validation on this device. Raises CostError if it exceeds the job's time limit."""
        from editor.jobs.cost_estimate import check_time_limit, count_images, exceeds, make_estimate
        from editor.jobs.remembered_cost import generation_place, remembered_cost

        context, options = self.context, self.context.request.validation
        images = count_images(context.request, self.model, self.removals, self.judge)
        digest = images_digest(self.model, context.components)
        place = generation_place(digest, self.device, options, self.model.prompts.profile)
        cost = remembered_cost(context.cost_folder, place, self._measure_cost)
        if exceeds(images, options, cost, context.time_limit):  # the machine may have been busy when it was measured
            cost = remembered_cost(context.cost_folder, place, self._measure_cost, again=True)
        check_time_limit(images, options, cost, context.time_limit)
        return make_estimate(images, options, cost)

    def _measure_cost(self) -> "GenerationCost":
        from editor.jobs.cost_estimate import measure_cost
        from editor.jobs.sampler_settings import choose_sampler

        pipeline, options = self._load_pipeline(), self.context.request.validation.model_copy(update={"steps": None})
        return measure_cost(pipeline, choose_sampler(options, self.model.prompts.profile, pipeline, self.device))

    @cached_property
    def _pipeline(self) -> Any:
        """The pipeline that generates the images of every round."""
        return self._load_pipeline()

    def _load_pipeline(self) -> Any:
        """Return the pipeline on the device."""
        return self.context.warm.load(self.context.model_dir, self.context.components, self.device)

    def _destination(self) -> "Destination":
        from editor.jobs.publish_phase import Destination

        context = self.context
        return Destination(
            out=context.out,
            job_id=context.job_id,
            created_at=context.now,
            signer=open_signer(context.signing_dir, context.now),
            salt=self.salt,
            full_weights=not context.delta_only,
        )


def missing_result() -> "RefinedResult":
    """Raise: the result is read only where it is stored."""
    raise AssertionError("the result of the closed loop is stored")
