"""Validation: what the evaluations found, against the gates that were fixed before."""

from collections.abc import Sequence

from api_schemas.gates import Policy
from api_schemas.judging import Check, Drift, Estimate, GroupScore, JudgeRecord, SamplerRecord, Validation
from editor.judging.evaluation import GeneratedImages, GroupEvaluation, image_specs
from editor.judging.gates import ABSENCE_MEASURES, METHOD, GateEvidence, decide_gates, make_check
from editor.judging.image_similarity import measure_preservation
from editor.judging.judge import Judge
from editor.judging.summary_score import harmonic_scores
from editor.stats.intervals import estimate_mean, estimate_rate


def group_score(evaluation: GroupEvaluation, judge: Judge, confidence: float) -> GroupScore:
    """Before and after, and the drop paired by prompt."""

    def figure(values: Sequence[float]) -> Estimate:
        return estimate_mean(values, confidence)

    return GroupScore(
        group=evaluation.group.name,
        removal=evaluation.group.removal,
        asks=evaluation.group.kind,
        judge=judge.short_id,
        prompts=evaluation.scored_group.prompts,
        accuracy_before=estimate_rate(evaluation.before.hits, confidence),
        accuracy_after=estimate_rate(evaluation.after.hits, confidence),
        accuracy_drop=figure(evaluation.accuracy_drops),
        score_before=figure(evaluation.before.similarities),
        score_after=figure(evaluation.after.similarities),
        clip_before=figure(evaluation.before.clip_scores),
        clip_after=figure(evaluation.after.clip_scores),
    )


def make_checks(evaluations: Sequence[GroupEvaluation], policy: Policy, seeds: int) -> list[Check]:
    """Every gate with its outcome."""
    pairs = [(evaluation, one) for evaluation in evaluations for one in evaluation.evidence]
    told = decide_gates([one for _, one in pairs], policy.confidence)
    return [
        make_check(
            one,
            outcome,
            check_name(evaluation, one),
            evaluation.group.removal,
            seeds,
            len(evaluation.group.phrases),
            policy.confidence,
        )
        for (evaluation, one), outcome in zip(pairs, told, strict=True)
    ]


def check_name(evaluation: GroupEvaluation, one: GateEvidence) -> str:
    """A gate in words."""
    if one.gate.measure == "retain_similarity":
        return "retain similarity"
    gone = one.gate.measure in ABSENCE_MEASURES
    return f"{evaluation.group.name} {evaluation.group.kind} {'accuracy' if gone else 'accuracy drop'}"


def make_validation(
    evaluations: Sequence[GroupEvaluation],
    drawn: GeneratedImages,
    judge: Judge,
    sampler: SamplerRecord,
    policy: Policy,
    name: str | None = None,
    drift: Drift | None = None,
) -> Validation:
    """Scores and gates of all groups; ``name`` is the policy's, ``drift`` the text encoder's."""
    seeds, groups = sampler.seeds, [evaluation.group for evaluation in evaluations]
    retained = image_specs(
        [evaluation.scored_group for evaluation in evaluations if evaluation.group.name == "retain"], seeds
    )
    return Validation(
        judge=JudgeRecord(id=judge.name, sha256=judge.digest, shares_weights_with_model=False),
        sampler=sampler,
        confidence=policy.confidence,
        groups=[group_score(evaluation, judge, policy.confidence) for evaluation in evaluations],
        checks=make_checks(evaluations, policy, len(seeds)),
        policy=name,
        policy_sha256=policy.digest(),
        publish_policy=policy.publish_policy,
        method=METHOD,
        images=len(drawn.after),
        planned=len(image_specs(groups, seeds)),
        harmonics=harmonic_scores(evaluations, policy.confidence),
        preservation=measure_preservation(judge, drawn.before, drawn.after, retained, policy.confidence, drift)
        if retained
        else None,
    )
