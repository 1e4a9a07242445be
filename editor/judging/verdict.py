"""The validation record: the scores of every group, and the outcome of every gate."""

from collections.abc import Sequence

from api_schemas.gates import Policy
from api_schemas.judging import (
    Check,
    ChoiceRecord,
    Drift,
    Estimate,
    GroupScore,
    JudgeRecord,
    RecognitionRecord,
    SamplerRecord,
    Validation,
)
from editor.judging.evaluation import GroupEvaluation
from editor.judging.gates import METHOD, RATE_MEASURES, GateEvidence, decide_gates, make_check
from editor.judging.image_similarity import measure_preservation
from editor.judging.judge import Judge
from editor.judging.planned_images import image_specs, planned_specs
from editor.judging.prompt_scores import GeneratedImages
from editor.judging.summary_score import harmonic_scores
from editor.stats.intervals import estimate_mean, estimate_rate


def group_score(evaluation: GroupEvaluation, judge: Judge, confidence: float) -> GroupScore:
    """Return a group's scores before and after the edit, and the accuracy drop paired by prompt."""

    def mean(values: Sequence[float]) -> Estimate:
        return estimate_mean(values, confidence)

    before, after = evaluation.before, evaluation.after
    return GroupScore(
        group=evaluation.group.name,
        removal=evaluation.group.removal,
        asks=evaluation.group.kind,
        judge=evaluation.recogniser.id if evaluation.recogniser else judge.short_id,
        choices=choice_record(evaluation),
        prompts=evaluation.scored_group.prompts,
        seen_prompts=sum(phrase in evaluation.group.seen for phrase in evaluation.scored_group.phrases),
        accuracy_before=estimate_rate(before.hits, confidence),
        accuracy_after=estimate_rate(after.hits, confidence),
        accuracy_drop=mean(evaluation.accuracy_drops),
        score_before=mean(before.similarities),
        score_after=mean(after.similarities),
        clip_before=mean(before.clip_scores),
        clip_after=mean(after.clip_scores),
    )


def choice_record(evaluation: GroupEvaluation) -> ChoiceRecord | None:
    """Return what a group's images were recognised by."""
    if evaluation.recogniser:
        return evaluation.recogniser.choices
    return evaluation.group.choices.record() if evaluation.group.choices else None


def make_checks(evaluations: Sequence[GroupEvaluation], confidence: float, seeds: int) -> list[Check]:
    """Decide every gate, and return its record; ``seeds`` is the number of seeds of each prompt."""
    pairs = [(evaluation, evidence) for evaluation in evaluations for evidence in evaluation.evidence]
    outcomes = decide_gates([evidence for _, evidence in pairs], confidence)
    return [
        make_check(
            evidence,
            outcome,
            check_name(evaluation, evidence),
            evaluation.group.removal,
            seeds,
            len(evaluation.group.phrases) * evaluation.group.rounds,
            confidence,
        )
        for (evaluation, evidence), outcome in zip(pairs, outcomes, strict=True)
    ]


def check_name(evaluation: GroupEvaluation, evidence: GateEvidence) -> str:
    """Return the name of a check in the report, such as `target object accuracy`."""
    if evidence.gate.measure == "retain_similarity":
        return "retain similarity"
    measure = "accuracy" if evidence.gate.measure in RATE_MEASURES else "accuracy drop"
    kind = "" if evaluation.group.name == "styled_objects" else f"{evaluation.group.kind} "
    return f"{evaluation.group.name} {kind}{measure}".replace("_", " ")


def make_validation(
    evaluations: Sequence[GroupEvaluation],
    generated: GeneratedImages,
    judge: Judge,
    sampler: SamplerRecord,
    policy: Policy,
    confidence: float,
    policy_name: str | None = None,
    drift: Drift | None = None,
    recognition: RecognitionRecord | None = None,
) -> Validation:
    """Return the validation record of a request.

    Args:
        evaluations: the scored groups.
        generated: the images.
        judge: recognised them.
        sampler: how they were generated.
        policy: the gates.
        confidence: the confidence of this validation; higher than the policy's where two validations share its error.
        policy_name: the policy's name, if the request names one.
        drift: how far the text encoder's states moved.
        recognition: the names that judge and base model do not know.
    """
    seeds = sampler.seeds
    retained = [evaluation.scored_group for evaluation in evaluations if evaluation.group.name == "retain"]
    specs = image_specs(retained, seeds)
    return Validation(
        judge=JudgeRecord(
            id=judge.name, sha256=judge.digest, shares_weights_with_model=False, preprocessing=judge.preprocessing
        ),
        sampler=sampler,
        confidence=confidence,
        groups=[group_score(evaluation, judge, confidence) for evaluation in evaluations if evaluation.scored_count],
        checks=make_checks(evaluations, confidence, len(seeds)),
        policy=policy_name,
        policy_sha256=policy.digest(),
        publish_policy=policy.publish_policy,
        method=METHOD,
        images=len(generated.after),
        planned=len(planned_specs([evaluation.group for evaluation in evaluations], seeds)),
        harmonics=harmonic_scores(evaluations, confidence),
        preservation=measure_preservation(judge, generated.before, generated.after, specs, confidence, drift)
        if specs
        else None,
        recognition=recognition,
    )
