"""Error rates of gates over many simulated validations with an interim analysis after every 16 prompts; policies."""

from pathlib import Path

import numpy as np
import pytest

from api_schemas.edits import Thresholds, Validation
from api_schemas.gates import Gate, Measure
from api_schemas.judging import Check
from editor.errors import PolicyError
from editor.judging.gates import (
    GateEvidence,
    combine_verdicts,
    decide_gates,
    gates_from_thresholds,
    inconclusive_reason,
    make_check,
    policy_from_request,
    recompute_measure,
    recompute_outcomes,
)
from editor.judging.policies import load_policy, policy_files, resolve_policy

RUNS, PLANNED, LOOK, CONFIDENCE = 150, 96, 16, 0.9


def gate(measure: Measure, threshold: float, **more: object) -> Gate:
    return Gate(measure=measure, threshold=threshold, **more)  # type: ignore[arg-type]


def run(gates: list[Gate], values: list[np.ndarray], control: list[float]) -> tuple[list[str], list[int]]:
    """Return the outcomes, and the number of prompts that each gate used."""
    taken = [LOOK] * len(gates)
    while True:
        every = [
            GateEvidence(one, all_[:n].tolist(), n >= PLANNED, control[:n])
            for one, all_, n in zip(gates, values, taken, strict=True)
        ]
        open_ = [
            i for i, one in enumerate(every) if not one.complete and not one.is_decided(1 - CONFIDENCE, len(gates))
        ]
        if not open_:
            return list(decide_gates(every, CONFIDENCE)), taken
        for i in open_:
            taken[i] += LOOK


@pytest.mark.parametrize(("measure", "threshold"), [("target_accuracy", 0.1), ("retain_object_drop", 0.1)])
def test_false_passes_are_within_the_permitted_error(measure: Measure, threshold: float) -> None:
    """The true mean is just beyond the threshold, where false passes are most likely."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(RUNS):
        hits = (rng.random(PLANNED) < threshold + 0.005).astype(float)
        found, _ = run([gate(measure, threshold)], [hits], [1.0] * PLANNED)
        wrong += found == ["passed"]
    assert wrong / RUNS <= 1 - CONFIDENCE + 0.03


def test_false_failures_among_many_gates_are_within_the_permitted_error() -> None:
    """Six gates that are barely met: the probability that any of them fails is at most 1 - confidence."""
    rng, wrong = np.random.default_rng(1), 0
    gates = [gate("target_accuracy", 0.2)] * 6
    for _ in range(RUNS):
        found, _ = run(gates, [(rng.random(PLANNED) < 0.195).astype(float) for _ in gates], [1.0] * PLANNED)
        wrong += "failed" in found
    assert wrong / RUNS <= 1 - CONFIDENCE + 0.03


def test_clear_cases_stop_before_half_of_the_prompts() -> None:
    every = gates_from_thresholds(
        Thresholds(
            target_accuracy=0.2,
            neighbour_drop=0.2,
            retain_drop=0.2,
            destination_drop=0.2,
            styled_object_drop=0.2,
            other_removed_accuracy=0.2,
        )
    )
    _, gone = run(every, [np.zeros(PLANNED)] * len(every), [1.0] * PLANNED)
    _, still = run(every, [np.ones(PLANNED)] * len(every), [1.0] * PLANNED)
    assert sum(gone) <= len(every) * PLANNED / 2
    assert sum(still) == len(every) * LOOK


def test_holm_fails_more_gates_than_bonferroni_and_fewer_than_no_correction() -> None:
    """The clear failure is removed first; the other two then share the error of two gates, not of three."""
    clear, fair = [1.0] * 16, [1.0] * 16 + [0.0] * 24
    every = [GateEvidence(gate("retain_object_drop", 0.2), values, True) for values in (clear, fair, [0.0] * 40)]
    level = next(x for x in np.geomspace(1e-4, 0.5, 400) if every[1].violates_threshold(x))
    assert decide_gates(every, 1 - 2.5 * level) == ["failed", "failed", "passed"]
    assert decide_gates(every, 1 - 1.5 * level)[1] != "failed"


@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])
def test_false_passes_stay_within_the_permitted_error_when_prompts_are_used_again(alike: float) -> None:
    """The true rate is just beyond the threshold; ``alike`` is the share of prompts whose images are all the same."""
    rng, wrong = np.random.default_rng(3), 0
    for _ in range(RUNS):
        same = rng.random(PLANNED) < alike
        first, again = ((rng.random(PLANNED) < 0.105).astype(float) for _ in range(2))
        rounds = [first, np.where(same, first, again)]
        wrong += decide_in_rounds(gate("target_accuracy", 0.1), rounds) == "passed"
    assert wrong / RUNS <= 1 - CONFIDENCE + 0.03


def decide_in_rounds(one: Gate, rounds: list[np.ndarray]) -> str:
    """Return the outcome after interim analyses of the first round, and a final analysis of the means over all rounds."""
    for taken in range(LOOK, PLANNED + 1, LOOK):
        evidence = GateEvidence(one, rounds[0][:taken].tolist(), False, [1.0] * taken)
        if evidence.is_decided(1 - CONFIDENCE, 1):
            return decide_gates([evidence], CONFIDENCE)[0]
    mean = np.mean(rounds, axis=0).tolist()
    return decide_gates([GateEvidence(one, mean, True, [1.0] * PLANNED, len(rounds))], CONFIDENCE)[0]


def test_a_second_round_decides_what_the_first_leaves_open() -> None:
    """Three hits of 96 leave a rate of at most 0.05 open; the same rate over twice the images is below it."""
    few = np.zeros(PLANNED)
    few[[5, 40, 70]] = 1
    other = np.zeros(PLANNED)
    limit = gate("target_accuracy", 0.06)
    assert decide_gates([GateEvidence(limit, few.tolist(), True, [1.0] * PLANNED)], CONFIDENCE) == ["inconclusive"]
    assert decide_in_rounds(limit, [few, other]) == "passed"
    assert decide_in_rounds(limit, [few, few]) == "inconclusive"


def test_no_hit_in_192_prompts_shows_a_share_below_two_per_cent() -> None:
    """Wilson's upper bound of 0 of n is z²/(n + z²), at most 0.02 from n = 189 on; the confidence sequence needs 225."""
    other = gate("other_removed_accuracy", 0.02)
    assert decide_gates([GateEvidence(other, [0.0] * 192, True)], 0.95) == ["passed"]
    assert decide_gates([GateEvidence(other, [0.0] * 188, True)], 0.95) == ["inconclusive"]
    assert GateEvidence(other, [0.0] * 240, False).is_decided(0.05, 10)
    assert not GateEvidence(other, [0.0] * 208, False).is_decided(0.05, 10)


def test_a_replacement_that_the_base_model_cannot_draw_leaves_the_gate_open() -> None:
    destination = gate("destination_drop", 0.15)
    missing = GateEvidence(destination, [0.1] * 96, True, [0.1] * 96)
    assert decide_gates([missing], 0.95) == ["inconclusive"]
    assert missing.is_decided(0.05, 5), "no number of prompts would decide it"
    assert "base model itself" in inconclusive_reason(missing, 0.95)
    lost = GateEvidence(destination, [0.9] * 48, False, [1.0] * 48)
    assert decide_gates([lost], 0.95) == ["failed"]
    assert decide_gates([GateEvidence(destination, [0.0] * 96, True, [1.0] * 96)], 0.95) == ["passed"]


def test_checks_of_older_reports_are_decided_as_they_were() -> None:
    """They have no rounds, and no gates on what the prompts show."""
    strict = load_policy("strict")
    few = [1.0] + [0.0] * 119
    evidence = [
        GateEvidence(one, few, True, [1.0] * 120) for one in strict.gates if one.measure != "retain_similarity"
    ][:5]
    outcomes = decide_gates(evidence, strict.confidence)
    checks = [
        make_check(one, outcome, one.gate.measure, 0, 1, 120, strict.confidence)
        for one, outcome in zip(evidence, outcomes, strict=True)
    ]
    stored = [Check.model_validate_json(check.model_dump_json(exclude={"rounds"})) for check in checks]
    assert recompute_outcomes(stored, strict.confidence) == outcomes
    assert [recompute_measure(check, strict.confidence) for check in stored] == [check.measured for check in checks]


def test_minimum_n_is_enforced() -> None:
    values = [0.0] * 80
    assert decide_gates([GateEvidence(gate("neighbour_drop", 0.2, minimum_n=80), values, True)], 0.95) == ["passed"]
    assert decide_gates([GateEvidence(gate("neighbour_drop", 0.2, minimum_n=81), values, True)], 0.95) == [
        "inconclusive"
    ]


def test_a_gate_may_require_a_lower_bound() -> None:
    similarity = gate("retain_similarity", 0.8, comparator=">=")
    same, changed = [0.99, 0.97] * 40, [0.5, 0.6] * 40
    assert decide_gates([GateEvidence(similarity, same, True)], 0.95) == ["passed"]
    assert decide_gates([GateEvidence(similarity, changed, True)], 0.95) == ["failed"]


def test_thresholds_become_gates() -> None:
    policy = policy_from_request(Validation(thresholds=Thresholds(target_accuracy=0.2, confidence=0.9)))
    assert policy.confidence == 0.9
    assert {one.measure: one.threshold for one in policy.gates} == {
        "target_accuracy": 0.2,
        "generality_accuracy": 0.2,
        "neighbour_drop": 0.1,
        "retain_object_drop": 0.03,
        "retain_style_drop": 0.03,
        "destination_drop": 0.15,
        "styled_object_drop": 0.1,
        "other_removed_accuracy": 0.02,
    }


def test_a_plain_request_gets_the_default_policy() -> None:
    assert load_policy("default") == policy_from_request(Validation())
    assert load_policy("default").digest() == policy_from_request(Validation()).digest()


def test_any_change_of_a_policy_changes_its_digest() -> None:
    policy = load_policy("strict")
    others = [
        policy.model_copy(update={"confidence": 0.98}),
        policy.model_copy(update={"publish_policy": "always"}),
        policy.model_copy(update={"gates": policy.gates[:-1]}),
    ]
    assert len({policy.digest(), *(other.digest() for other in others)}) == 4


def test_policies_of_the_configured_folder_take_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPUNGE_POLICIES", str(tmp_path))
    (tmp_path / "desk.json").write_text('{"gates": [{"measure": "target_accuracy", "threshold": 0.01}]}')
    (tmp_path / "strict.toml").write_text('gates = [{ measure = "target_accuracy", threshold = 0.02 }]')
    assert {"default", "strict", "desk"} <= set(policy_files())
    assert load_policy("desk").gates == [Gate(measure="target_accuracy", threshold=0.01)]
    assert load_policy("strict").gates[0].threshold == 0.02
    own_word = resolve_policy(Validation(policy="desk", publish_policy="only_if_passed"))
    assert own_word.publish_policy == "only_if_passed"


@pytest.mark.parametrize(
    "content", ["gates = [", 'gates = [{ measure = "beauty", threshold = 0.1 }]', "confidence = 0.9"]
)
def test_an_invalid_policy_file_is_refused(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPUNGE_POLICIES", str(tmp_path))
    (tmp_path / "broken.toml").write_text(content)
    with pytest.raises(PolicyError) as caught:
        load_policy("broken")
    assert caught.value.field == "validation.policy"
    with pytest.raises(PolicyError, match="no policy"):
        load_policy("absent")


def test_a_retain_gate_without_retain_prompts_is_refused() -> None:
    with pytest.raises(PolicyError, match="retain_prompts"):
        resolve_policy(Validation(policy="strict", retain_prompts=0))


def test_one_failed_check_fails_the_verdict_and_all_must_pass_for_a_pass() -> None:
    assert combine_verdicts(["passed", "passed"]) == "passed"
    assert combine_verdicts(["passed", "inconclusive"]) == "inconclusive"
    assert combine_verdicts(["failed", "inconclusive", "passed"]) == "failed"
