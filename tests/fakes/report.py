"""An audit report with every part, about any concept."""

from datetime import UTC, datetime
from hashlib import sha256

from api_schemas.attacks import AttackRecord, Budget, Rate
from api_schemas.feature_scores import ControlResidual, FeatureChange, FeatureScores, Place, Residual, SaeScore
from api_schemas.judging import GroupName
from api_schemas.report import (
    AuditReport,
    Check,
    Estimate,
    GroupScore,
    JudgeRecord,
    ModelRecord,
    RemovalRecord,
    SamplerRecord,
    SiteEffect,
    SolveRecord,
    TraceRecord,
    Validation,
    Verdict,
    WordEffects,
    WordTrace,
)

AUTOENCODER_WEIGHTS = b"weights of an autoencoder"
AUTOENCODER_DIGEST = sha256(AUTOENCODER_WEIGHTS).hexdigest()


def make_report(job_id: str, concept: str, verdict: Verdict = "passed") -> AuditReport:
    return AuditReport(
        job_id=job_id,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        model=ModelRecord(id="tiny", family="stable-diffusion-1", files={}),
        removals=[_removal(concept)],
        solves=[_solve()],
        traces=[_trace(concept)],
        validation=_validation(),
        attacks=[_attack()],
        features=FeatureScores(sae=(_sae(),)),
        verdict=verdict,
        limits=["Names in other languages were not considered."],
        untested=["Inversion attacks were not run.", "Prompts of several sentences were not generated."],
        artifacts=[],
        software={"torch": "2.13.0"},
    )


def _removal(concept: str) -> RemovalRecord:
    return RemovalRecord(
        concept=concept,
        kind="object",
        destination="dog face",
        destination_source="replacement",
        aliases=[],
        edit_prompts=[f"a picture of a {concept}"],
        neighbours=["wolf"],
    )


def _solve() -> SolveRecord:
    return SolveRecord(
        method="default",
        component="text_encoder",
        tensor="x",
        layer=0,
        columns=44,
        rank=6,
        preservation=0.5,
        ridge=1e-4,
        condition=1e5,
        relative_change=0.1,
        null_prompt_drift=0.0,
        predicted_retain_p95=0.03,
        seconds=0.1,
        trade_off=[],
    )


def _estimate(value: float) -> Estimate:
    return Estimate(value=value, low=max(0.0, value - 0.06), high=min(1.0, value + 0.06), n=24)


def _trace(concept: str) -> TraceRecord:
    sites = [
        SiteEffect(layer=layer, kind=kind, effect=_estimate(share / (1 + layer)))
        for layer in range(6)
        for kind, share in (("self_attention", 0.9), ("mlp", 0.4))
    ]
    return TraceRecord(
        removal=0,
        read_out="judge cosine",
        clean_score=0.8,
        corrupted_score=0.1,
        sites=sites,
        causal_site="layer 0 self_attention",
        edited_site_is_causal=True,
        separated=True,
        by_word=WordTrace(
            prompt=f"a picture of {concept} in the snow",
            words=[_word("a", 0.0), _word("picture", 0.0), _word("of", 0.0)]
            + [_word(word, 0.3, subject=True) for word in concept.split()]
            + [
                _word("in", 0.05),
                _word("the", 0.1),
                _word("snow", 0.5),
                _word("end of text", -0.04),
                _word("padding", 0.87),
            ],
        ),
    )


def _word(text: str, share: float, *, subject: bool = False) -> WordEffects:
    return WordEffects(text=text, subject=subject, effects=[round(share / (1 + layer), 4) for layer in range(6)])


def _validation() -> Validation:
    return Validation(
        judge=JudgeRecord(id="clip-vit-large", sha256="0" * 64, shares_weights_with_model=False),
        sampler=SamplerRecord(scheduler="DDIM", steps=20, guidance=3.0, seeds=[0]),
        confidence=0.95,
        groups=[
            _group("target", 0, 0.92, 0.0),
            _group("generality", 0, 0.88, 0.04),
            _group("neighbours", 0, 0.9, 0.87),
            _group("retain", None, 0.94, 0.93),
        ],
        checks=[
            _check("target_accuracy", 0, 0.0, 0.05, "passed"),
            _check("generality_accuracy", 0, 0.04, 0.1, "passed"),
            _check("neighbour_drop", 0, 0.03, 0.05, "inconclusive"),
            _check("retain_object_drop", None, 0.01, 0.03, "passed"),
        ],
        images=240,
        planned=480,
    )


def _group(name: GroupName, removal: int | None, before: float, after: float) -> GroupScore:
    return GroupScore(
        group=name,
        removal=removal,
        asks="object",
        prompts=["a picture"],
        accuracy_before=_estimate(before),
        accuracy_after=_estimate(after),
        accuracy_drop=_estimate(max(0.0, before - after)),
        score_before=_estimate(0.3),
        score_after=_estimate(0.1),
    )


def _check(measure: str, removal: int | None, value: float, threshold: float, outcome: Verdict) -> Check:
    return Check.model_validate(
        {
            "name": measure,
            "measure": measure,
            "removal": removal,
            "measured": _estimate(value).model_dump(),
            "threshold": threshold,
            "outcome": outcome,
        }
    )


def _attack() -> AttackRecord:
    return AttackRecord(
        name="names",
        removal=0,
        access="prompts",
        source="aliases and spellings",
        seed=0,
        budget=Budget(unit="names", allowed=20, spent=12, published=None),
        tried=12,
        rate=Rate(hits=1, n=12, value=1 / 12, low=0.01, high=0.35),
        rate_before=Rate(hits=11, n=12, value=11 / 12, low=0.65, high=0.99),
        strongest=None,
        attempts=[],
        tells="Names that bring the concept back are not covered by the edit.",
    )


def _sae() -> SaeScore:
    residual = Residual(
        estimate=_estimate(0.12),
        damping=_estimate(0.95),
        contrast_before=4.1,
        contrast_after=0.4,
        auc_before=0.99,
        auc_after=0.6,
        detected_before=Rate(hits=20, n=20, value=1.0, low=0.84, high=1.0),
        detected_after=Rate(hits=2, n=20, value=0.1, low=0.03, high=0.3),
        controls=[ControlResidual(concept="owl", features=[7], residual=0.98)],
    )
    changed = [
        FeatureChange(feature=18, before=4.2, after=0.3, controls_change=0.0),
        FeatureChange(feature=230, before=0.1, after=2.9, controls_change=0.1),
    ]
    place = Place(module="mid_block", timestep=25, protocol="noised", digest=AUTOENCODER_DIGEST)
    return SaeScore(
        removal=0,
        place=place,
        features=[18],
        residual=residual,
        probe=None,
        fvu_before=0.1,
        fvu_after=0.12,
        trusted=True,
        why="The autoencoder reconstructs the edited model's activations.",
        changed=changed,
    )
