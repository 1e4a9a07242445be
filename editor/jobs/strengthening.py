"""How a measured edit is changed for the next round: what is strengthened, in which order, and what is weakened.

Prompts that leaked or missed their destination become prompts of the edit, and names that fell become names to preserve, in
every round. Beyond that, three layers are edited instead of one: the later ones bring the concept closer to its destination
and unrelated prompts back to what they were. Then a removal that is incomplete is strengthened by less preservation, unless
unrelated prompts fell, and relative to other removals by more weight. Where only unrelated prompts fell, preservation is
raised instead. A step that was no better is followed by one in the other direction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from api_schemas.gates import Gate, Measure
from api_schemas.refinement import MeasureRecord
from editor.judging.evaluation import GroupEvaluation
from editor.methods.adjustments import RemovalAdjustment, RetainedName, SolveAdjustments
from editor.prompts import ResolvedRemoval
from editor.prompts.concepts import ConceptKind, Phrase, WeightedPhrase

MAX_LEAKED_PHRASES = 16
"""Prompts that a round adds to the edit for each group of a removal."""
LEAKED_WEIGHT = 0.25
MAX_LEAKED_WEIGHT = 1.0
"""Weight of all prompts that were added to a removal, relative to all prompts of the concept's own name: more of it acts as
less preservation."""
FALLEN_SHARE = 0.2
"""Mean drop of the prompts with a name from which on the name has fallen."""
FALLEN_WEIGHT = 4.0
"""Weight of a prompt about a name that fell, relative to an ordinary retain prompt."""
MARGIN_SHARE = 0.25
"""The prompts that steer are in wordings that edits use, and show less than the others."""
STEP = 2.0
"""Factor by which a weight is raised in one round."""
COMPLETENESS_MEASURES: tuple[Measure, ...] = (
    "target_accuracy",
    "generality_accuracy",
    "destination_drop",
    "styled_object_drop",
    "other_removed_accuracy",
)
"""Measures of the removal itself."""


@dataclass(frozen=True)
class Measured:
    """What the steering prompts showed of a candidate."""

    measures: tuple[MeasureRecord, ...]
    leaked: tuple[tuple[int, Phrase], ...]
    """Prompts to edit more, with the index of the removal: they still showed the concept, or missed the destination."""
    fallen: tuple[tuple[ConceptKind, str], ...]
    """Names that are recognised less often than before."""

    @property
    def excess(self) -> float:
        """Sum of what the measures exceed their margins by."""
        return sum(excess(one) for one in self.measures)

    @property
    def incomplete(self) -> set[int | None]:
        """The removals of which a measure of the removal itself exceeds its margin."""
        return {one.removal for one in self.measures if one.measure in COMPLETENESS_MEASURES and excess(one) > 0}

    @property
    def has_collateral(self) -> bool:
        """Whether a measure of everything else exceeds its margin."""
        return any(excess(one) > 0 for one in self.measures if one.measure not in COMPLETENESS_MEASURES)


def excess(one: MeasureRecord) -> float:
    """Return by how much a measure exceeds its margin, a share of the way from the ideal to the threshold.

    The margin is at least one image: among a few dozen, a single one shows nothing.
    """
    single = 1 / (one.prompts * one.seeds)
    if one.comparator == ">=":
        return max(0.0, 1 - max((1 - one.threshold) * MARGIN_SHARE, single) - one.value)
    return max(0.0, one.value - max(one.threshold * MARGIN_SHARE, single))


def read_measures(
    measuring: Sequence[GroupEvaluation], learning: Sequence[GroupEvaluation], seeds: int = 1
) -> Measured:
    """Return what evaluated steering groups show: how good a candidate is, and by which prompts and names to change it."""
    return Measured(
        tuple(measure_record(one, gate, seeds) for one in measuring for gate in one.gates if one.scored_count),
        tuple(dict.fromkeys(leak for one in learning for leak in leaked_phrases(one))),
        tuple(dict.fromkeys(name for one in learning for name in fallen_names(one))),
    )


def measure_record(evaluation: GroupEvaluation, gate: Gate, seeds: int) -> MeasureRecord:
    """Return the mean of a gate's measure, in so many images of each prompt."""
    values = evaluation.gate_evidence(gate).values
    return MeasureRecord(
        measure=gate.measure,
        removal=evaluation.group.removal,
        value=fmean(values),
        threshold=gate.threshold,
        comparator=gate.comparator,
        prompts=len(values),
        seeds=seeds,
    )


def leaked_phrases(evaluation: GroupEvaluation) -> list[tuple[int, Phrase]]:
    """Return the prompts of a group that still show the concept or another removed one, or that miss their destination."""
    group, hits = evaluation.group, evaluation.after.hits
    if group.removal is None or group.name == "neighbours":
        return []
    scored = (
        (phrase, hit) for phrase, hit in zip(group.phrases, hits, strict=False) if phrase not in evaluation.confused
    )
    found = [phrase for phrase, hit in scored if (hit < 1 if group.needs_references else hit > 0)]
    return [(group.removal, phrase) for phrase in found][:MAX_LEAKED_PHRASES]


def fallen_names(evaluation: GroupEvaluation) -> list[tuple[ConceptKind, str]]:
    """Return the names of retained concepts and neighbours whose prompts show what they ask for less often than before.

    The style of a prompt counts as well as its object: often the objects of one style fall.
    """
    group = evaluation.group
    if group.name not in ("neighbours", "retain"):
        return []
    by_name: dict[tuple[ConceptKind, str], list[float]] = {}
    for phrase, name, drop in zip(group.phrases, group.expected_names, evaluation.accuracy_drops, strict=False):
        styled: list[tuple[ConceptKind, str]] = [("style", phrase.style)] if phrase.style else []
        for key in dict.fromkeys([(group.kind, name), *styled]):
            by_name.setdefault(key, []).append(drop)
    return [key for key, drops in by_name.items() if fmean(drops) >= FALLEN_SHARE]


def next_adjustments(
    current: SolveAdjustments,
    found: Measured,
    removals: Sequence[ResolvedRemoval],
    more_layers: tuple[int, ...] = (),
    *,
    steps: int = 1,
    alone: bool = True,
) -> SolveAdjustments:
    """Return the adjustments of the next round, which starts from the best candidate so far.

    Args:
        current: that candidate's adjustments.
        found: what was measured of it.
        removals: the request's removals, which ``found`` numbers.
        more_layers: layers to edit instead of that candidate's; empty to keep those.
        steps: how many steps to take: one more than rounds that started from the same candidate and were no better.
        alone: whether nothing else is removed. The weight of a single removal is that of preservation.
    """
    added = add_found(current, found, removals)
    if more_layers:
        added = added.model_copy(update={"layers": more_layers})
    elif not alone:
        added = raise_weights(added, [removals[index] for index in found.incomplete if index is not None])
    enough = more_layers or (found.incomplete and found.has_collateral)  # of a change, to leave preservation as it is
    power = alternate(steps - 1 if enough else steps)
    return scale_preservation(added, STEP ** (power if found.has_collateral else -power))


def alternate(steps: int) -> int:
    """Return 0, 1, -1, 2, -2, ...: a direction that was no better is followed by the other one, and then by a larger step."""
    return (steps + 1) // 2 * (1 if steps % 2 else -1)


def add_found(current: SolveAdjustments, found: Measured, removals: Sequence[ResolvedRemoval]) -> SolveAdjustments:
    """Add leaked prompts and fallen names; those that are there already count more."""
    phrases: dict[int, dict[Phrase, float]] = {index: {} for index in range(len(removals))}
    before = [adjustment_of(current, removal) for removal in removals]
    for index, own in enumerate(before):
        phrases[index] = {one.phrase: one.weight for one in own.phrases}
    for index, phrase in found.leaked:
        phrases[index][phrase] = STEP * phrases[index].get(phrase, LEAKED_WEIGHT / STEP)
    names = {(one.kind, one.name): one.weight for one in current.retain_names}
    for name in found.fallen:
        names[name] = STEP * names.get(name, FALLEN_WEIGHT / STEP)
    return current.model_copy(
        update={
            "removals": tuple(
                own.model_copy(update={"phrases": limit_weights(phrases[index])}) for index, own in enumerate(before)
            ),
            "retain_names": tuple(
                RetainedName(name=name, kind=kind, weight=weight) for (kind, name), weight in names.items()
            ),
        }
    )


def limit_weights(phrases: Mapping[Phrase, float]) -> tuple[WeightedPhrase, ...]:
    """Return phrases with their weights, scaled to what they may weigh together."""
    scale = MAX_LEAKED_WEIGHT / max(sum(phrases.values()), MAX_LEAKED_WEIGHT)
    return tuple(WeightedPhrase(phrase, scale * weight) for phrase, weight in phrases.items())


def adjustment_of(adjustments: SolveAdjustments, removal: ResolvedRemoval) -> RemovalAdjustment:
    """Return the adjustment of a removal; one that changes nothing if there is none."""
    key = (removal.concept.kind, removal.concept.name)
    found = next((one for one in adjustments.removals if (one.kind, one.concept) == key), None)
    return found or RemovalAdjustment(concept=removal.concept.name, kind=removal.concept.kind)


def raise_weights(adjustments: SolveAdjustments, removals: Sequence[ResolvedRemoval]) -> SolveAdjustments:
    """Raise the weight of some removals."""
    keys = {(one.concept.kind, one.concept.name) for one in removals}
    raised = tuple(
        one.model_copy(update={"weight": one.weight * STEP}) if (one.kind, one.concept) in keys else one
        for one in adjustments.removals
    )
    return adjustments.model_copy(update={"removals": raised})


def scale_preservation(adjustments: SolveAdjustments, factor: float) -> SolveAdjustments:
    """Scale the preservation weight."""
    return adjustments.model_copy(update={"preservation_scale": adjustments.preservation_scale * factor})


def describe_adjustments(adjustments: SolveAdjustments) -> list[str]:
    """Say what adjustments change, without names."""
    weight = max((one.weight for one in adjustments.removals), default=1.0)
    phrases, names = sum(len(one.phrases) for one in adjustments.removals), len(adjustments.retain_names)
    scale, layers = adjustments.preservation_scale, adjustments.layers
    return [
        *([f"{phrases} prompts added"] if phrases else []),
        *([f"{names} fallen names preserved"] if names else []),
        *([f"removal weight {weight:g}"] if weight != 1 else []),
        *([f"preservation times {scale:g}"] if scale != 1 else []),
        *([f"layers {', '.join(map(str, layers))}"] if layers else []),
    ]
