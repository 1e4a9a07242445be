"""False passes of the verdict by simulation: ``python -m research.results false_passes``.

A simulated concept has true rates: the share of its prompts in whose images each gate sees a fault. The gates are those of the
product, with its interim analyses, rounds and decisions; only images and judge are replaced by draws. A closed loop measures
attempts on steering prompts until one looks good, and decides it on fresh prompts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from api_schemas.edits import Validation
from api_schemas.gates import Gate, Measure
from api_schemas.judging import Estimate, Verdict
from editor.judging.evaluation import INTERIM_BATCH
from editor.judging.gates import GateEvidence, combine_verdicts, decide_gates, policy_from_request
from editor.stats.intervals import estimate_rate
from research.harness import EmbeddedModel

RUNS = 200
PROMPTS, STEERING_PROMPTS, ATTEMPTS = 192, 64, 4
BEYOND = 0.002
"""How far a true rate lies beyond its threshold, where a pass is wrong and most likely."""
DEFAULT_GATES = policy_from_request(Validation()).gates
SIMULATED: tuple[Measure, ...] = ("target_accuracy", "retain_object_drop", "destination_drop", "other_removed_accuracy")
"""One measure of each form."""
Values = NDArray[np.float64]


@dataclass(frozen=True)
class TrueRates:
    """What is true of a simulated concept after an edit."""

    faults: Mapping[Measure, float] = field(default_factory=dict)
    """Share of images in which each gate sees a fault: a recognised concept, or a lost accuracy. 0 where absent."""
    alike: float = 0.0
    """Share of prompts that show the same at every seed."""

    def violates(self, gates: Sequence[Gate]) -> bool:
        """Whether a `passed` verdict would be wrong."""
        return any(self.faults.get(gate.measure, 0.0) > gate.threshold for gate in gates)

    def draw(self, measure: Measure, rng: np.random.Generator, prompts: int, rounds: int) -> Values:
        """Draw whether each prompt's image has the fault, ``(rounds, prompts)``."""
        found = (rng.random((rounds, prompts)) < self.faults.get(measure, 0.0)).astype(np.float64)
        repeated = rng.random(prompts) < self.alike
        return np.where(repeated, found[0], found)


def gate_evidence(
    gate: Gate, rates: TrueRates, rng: np.random.Generator, gates: int, confidence: float, prompts: int, rounds: int
) -> GateEvidence:
    """Draw prompts for a gate until it is decided or none are left, as a validation does."""
    values = rates.draw(gate.measure, rng, prompts, rounds)
    for scored in range(INTERIM_BATCH, prompts + 1, INTERIM_BATCH):
        early = GateEvidence(gate, values[0, :scored].tolist(), False, [1.0] * scored)
        if early.is_decided(1 - confidence, gates):
            return early
    return GateEvidence(gate, values.mean(0).tolist(), True, [1.0] * prompts, rounds)


def simulate_verdict(
    rates: TrueRates,
    rng: np.random.Generator,
    gates: Sequence[Gate] = DEFAULT_GATES,
    confidence: float = 0.95,
    prompts: int = PROMPTS,
    rounds: int = 1,
) -> Verdict:
    """Return the verdict on a simulated concept from fresh prompts."""
    evidence = [gate_evidence(gate, rates, rng, len(gates), confidence, prompts, rounds) for gate in gates]
    return combine_verdicts(decide_gates(evidence, confidence))


def simulate_loop(
    attempt: Callable[[int], TrueRates],
    rng: np.random.Generator,
    gates: Sequence[Gate] = DEFAULT_GATES,
    attempts: int = ATTEMPTS,
    fresh: bool = True,
) -> tuple[Verdict, TrueRates]:
    """Return the verdict of a closed loop, and the true rates of the attempt that it decides.

    Args:
        attempt: from the number of an attempt to the true rates of its edit.
        fresh: decide on fresh prompts; otherwise stop at the first attempt that passes on the ones that steered, which is
            what a loop must not do.
    """
    for number in range(attempts):
        rates = attempt(number)
        steering = {gate.measure: rates.draw(gate.measure, rng, STEERING_PROMPTS, 1)[0] for gate in gates}
        if fresh and all(steering[gate.measure].mean() <= gate.threshold for gate in gates):
            break
        if not fresh and decide_measured(gates, steering) == "passed":
            return "passed", rates
    return (simulate_verdict(rates, rng, gates) if fresh else decide_measured(gates, steering)), rates


def decide_measured(gates: Sequence[Gate], measured: Mapping[Measure, Values]) -> Verdict:
    """Return the verdict on the prompts that steered."""
    evidence = [GateEvidence(gate, measured[gate.measure].tolist(), True, [1.0] * STEERING_PROMPTS) for gate in gates]
    return combine_verdicts(decide_gates(evidence, 0.95))


class FalsePassRow(BaseModel):
    """One scenario: how often the verdict passes although a gate's true rate is beyond its threshold."""

    scenario: str
    measure: str
    runs: int
    false_passes: Estimate
    inconclusive: float


Scenario = Callable[[TrueRates, np.random.Generator], Verdict]
SCENARIOS: dict[str, tuple[float, Scenario]] = {
    "one round": (0.0, lambda rates, rng: simulate_verdict(rates, rng)),
    "two rounds, no prompt repeats its image": (0.0, lambda rates, rng: simulate_verdict(rates, rng, rounds=2)),
    "two rounds, half of the prompts do": (0.5, lambda rates, rng: simulate_verdict(rates, rng, rounds=2)),
    "two rounds, all prompts do": (1.0, lambda rates, rng: simulate_verdict(rates, rng, rounds=2)),
    f"closed loop, {ATTEMPTS} attempts, fresh prompts decide": (
        0.0,
        lambda rates, rng: simulate_loop(lambda number: rates, rng)[0],
    ),
}
"""For each scenario, the share of prompts that repeat their image, and the simulation."""


def simulate_row(scenario: str, gate: Gate, runs: int = RUNS, seed: int = 0) -> FalsePassRow:
    """Simulate one scenario in which one gate's true rate is just beyond its threshold and all else is well."""
    alike, simulate = SCENARIOS[scenario]
    rates, rng = TrueRates({gate.measure: gate.threshold + BEYOND}, alike), np.random.default_rng(seed)
    verdicts = [simulate(rates, rng) for _ in range(runs)]
    return FalsePassRow(
        scenario=scenario,
        measure=gate.measure,
        runs=runs,
        false_passes=estimate_rate([verdict == "passed" for verdict in verdicts]),
        inconclusive=verdicts.count("inconclusive") / runs,
    )


def measure(model: EmbeddedModel | None = None) -> Iterator[FalsePassRow]:
    """Simulate every scenario for a gate of each form; no model is used."""
    gates = [gate for gate in DEFAULT_GATES if gate.measure in SIMULATED]
    yield from (simulate_row(scenario, gate) for scenario in SCENARIOS for gate in gates)


def render(rows: list[FalsePassRow]) -> str:
    """Render the section."""
    return "\n".join([TEXT, COLUMNS, *map(render_row, rows)])


def render_row(row: FalsePassRow) -> str:
    """Render a row of the table."""
    rate = row.false_passes
    return (
        f"| {row.scenario} | `{row.measure}` | {rate.value:.3f} ({rate.low:.3f} to {rate.high:.3f}) | {row.inconclusive:.2f} "
        f"| {row.runs} |"
    )


TEXT = f"""## False passes of the verdict, by simulation

The decisions of the product on drawn observations: one gate's true rate lies {BEYOND} beyond its threshold, where a `passed`
verdict is wrong and most likely; all else is well. At a confidence of 0.95, at most 0.05 of the verdicts may be `passed`. In
further rounds the same prompts are used with further seeds; some of them repeat their image. A closed loop measures up to
{ATTEMPTS} attempts on {STEERING_PROMPTS} steering prompts each, stops at the first that looks good, and decides it on fresh
prompts. The gates on generality, neighbours and styles have the same observations as those listed. No images are involved.
"""
COLUMNS = """| decided by | gate beyond its threshold | passed | inconclusive | runs |
|---|---|---|---|---|"""
