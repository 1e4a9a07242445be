"""False passes of the whole verdict in simulations, in small numbers of runs."""

import numpy as np
import pytest

from api_schemas.gates import Gate
from research.results.false_passes import (
    DEFAULT_GATES,
    SCENARIOS,
    TrueRates,
    render,
    simulate_loop,
    simulate_row,
    simulate_verdict,
)

RUNS = 60
TARGET = next(gate for gate in DEFAULT_GATES if gate.measure == "target_accuracy")


def test_a_concept_without_faults_passes_and_one_that_is_still_there_fails() -> None:
    rng = np.random.default_rng(0)
    assert simulate_verdict(TrueRates(), rng) == "passed"
    assert simulate_verdict(TrueRates({"destination_drop": 0.9}), rng) == "failed"
    assert simulate_verdict(TrueRates({"other_removed_accuracy": 0.2}), rng) == "failed"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_false_passes_are_within_the_permitted_error(scenario: str) -> None:
    """The interval of the simulated share reaches down to the 5 % that the confidence allows."""
    row = simulate_row(scenario, TARGET, RUNS)
    assert row.false_passes.low <= 0.05
    assert scenario in render([row])


@pytest.mark.parametrize("gate", DEFAULT_GATES[-3:], ids=lambda gate: gate.measure)
def test_gates_on_what_the_prompts_show_pass_wrongly_no_more_often(gate: Gate) -> None:
    assert simulate_row("one round", gate, RUNS // 2).false_passes.low <= 0.05


def test_a_loop_that_decides_on_its_steering_prompts_passes_more_often() -> None:
    """The simulation finds the error that fresh prompts avoid: the best of several looks is not a test."""
    gates = [Gate(measure="target_accuracy", threshold=0.1)]
    bad = TrueRates({"target_accuracy": 0.105})

    def share(fresh: bool) -> float:
        rng = np.random.default_rng(1)
        verdicts = [simulate_loop(lambda number: bad, rng, gates, attempts=40, fresh=fresh)[0] for _ in range(RUNS)]
        return verdicts.count("passed") / RUNS

    assert bad.violates(gates)
    assert share(fresh=True) <= 0.1
    assert share(fresh=False) >= 0.3


def test_a_loop_decides_the_attempt_that_looks_good() -> None:
    tried = []

    def attempt(number: int) -> TrueRates:
        tried.append(number)
        return TrueRates({"target_accuracy": 0.5} if number < 2 else {})

    verdict, decided = simulate_loop(attempt, np.random.default_rng(0))
    assert (tried, verdict, decided.faults) == ([0, 1, 2], "passed", {})
