"""Validation: what the trials found, against the gates that were fixed before."""

from collections.abc import Sequence

from api_schemas.gates import Policy
from api_schemas.judging import Check, Drift, Estimate, GroupScore, JudgeRecord, SamplerRecord, Validation
from editor.judging.evaluation import GeneratedImages, GroupEvaluation, image_specs
from editor.judging.gates import ABSENCE_MEASURES, METHOD, GateEvidence, decide_gates, make_check
from editor.judging.image_similarity import measure_preservation
from editor.judging.judge import Judge
from editor.judging.summary_score import harmonic_scores
from editor.stats.intervals import estimate_mean, estimate_rate


def group_score(trial: GroupEvaluation, judge: Judge, confidence: float) -> GroupScore:
    """Before and after, and the drop paired by prompt."""

    def figure(values: Sequence[float]) -> Estimate:
        return estimate_mean(values, confidence)

    return GroupScore(
        group=trial.group.name,
        removal=trial.group.removal,
        asks=trial.group.asks,
        judge=judge.short,
        prompts=trial.so_far.prompts,
        accuracy_before=estimate_rate(trial.before.hits, confidence),
        accuracy_after=estimate_rate(trial.after.hits, confidence),
        accuracy_drop=figure(trial.drops),
        score_before=figure(trial.before.scores),
        score_after=figure(trial.after.scores),
        clip_before=figure(trial.before.clips),
        clip_after=figure(trial.after.clips),
    )


def make_checks(trials: Sequence[GroupEvaluation], policy: Policy, seeds: int) -> list[Check]:
    """Every gate with its outcome."""
    pairs = [(trial, one) for trial in trials for one in trial.evidence]
    told = decide_gates([one for _, one in pairs], policy.confidence)
    return [
        make_check(
            one,
            outcome,
            check_name(trial, one),
            trial.group.removal,
            seeds,
            len(trial.group.phrases),
            policy.confidence,
        )
        for (trial, one), outcome in zip(pairs, told, strict=True)
    ]


def check_name(trial: GroupEvaluation, one: GateEvidence) -> str:
    """A gate in words."""
    if one.gate.measure == "retain_similarity":
        return "retain similarity"
    gone = one.gate.measure in ABSENCE_MEASURES
    return f"{trial.group.name} {trial.group.asks} {'accuracy' if gone else 'accuracy drop'}"


def make_validation(
    trials: Sequence[GroupEvaluation],
    drawn: GeneratedImages,
    judge: Judge,
    sampler: SamplerRecord,
    policy: Policy,
    name: str | None = None,
    drift: Drift | None = None,
) -> Validation:
    """Scores and gates of all groups; ``name`` is the policy's, ``drift`` the text encoder's."""
    seeds, groups = sampler.seeds, [trial.group for trial in trials]
    retained = image_specs([trial.so_far for trial in trials if trial.group.name == "retain"], seeds)
    return Validation(
        judge=JudgeRecord(id=judge.name, sha256=judge.digest, shares_weights_with_model=False),
        sampler=sampler,
        confidence=policy.confidence,
        groups=[group_score(trial, judge, policy.confidence) for trial in trials],
        checks=make_checks(trials, policy, len(seeds)),
        policy=name,
        policy_sha256=policy.digest(),
        publish_policy=policy.publish_policy,
        method=METHOD,
        images=len(drawn.after),
        planned=len(image_specs(groups, seeds)),
        harmonics=harmonic_scores(trials, policy.confidence),
        preservation=measure_preservation(judge, drawn.before, drawn.after, retained, policy.confidence, drift)
        if retained
        else None,
    )
