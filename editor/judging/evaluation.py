"""Sequential evaluation: generate and score batches of prompts before and after the edit until every gate is decided."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from types import MappingProxyType

from api_schemas.gates import Gate, Measure
from editor.generation.config import ImageSpec
from editor.io.progress import ProgressCallback, SubProgress, no_progress
from editor.judging.gates import ABSENCE_MEASURES, RATE_MEASURES, REFERENCE_MEASURES, GateEvidence
from editor.judging.image_pairs import ImagePairGenerator
from editor.judging.image_similarity import ssim
from editor.judging.judge import Judge
from editor.judging.planned_images import planned_specs, round_seeds
from editor.judging.prompt_groups import PromptGroup
from editor.judging.prompt_scores import GeneratedImages, PromptScores, Side, mean_scores, score_prompts
from editor.judging.recognisers import Recogniser
from editor.prompts.concepts import ConceptKind, Phrase
from editor.stats.intervals import estimate_rate

INTERIM_BATCH = 16
"""Prompts of each undecided group that are scored between two interim analyses of the gates."""
MAX_CONFUSED_SHARE = 0.1
"""Share of the prompts about a removed concept that may be left out because the judge also sees it in their references."""


@dataclass
class Round:
    """The scores of a group's prompts at one set of seeds."""

    before: PromptScores = field(default_factory=PromptScores)
    after: PromptScores = field(default_factory=PromptScores)
    confused: set[Phrase] = field(default_factory=set)
    """Prompts in whose images the judge sees what must be absent, and also where it was neither asked for nor removed."""
    ssim: list[float] = field(default_factory=list)
    """SSIM of each prompt's images before and after the edit, if a gate asks for it."""


@dataclass
class GroupEvaluation:
    """A group of prompts under sequential evaluation, with the gates that it decides and its scores so far."""

    group: PromptGroup
    gates: Sequence[Gate]
    recogniser: Recogniser | None = None
    """What recognises the group's concept; None for the zero-shot judge."""
    minimum_recognition: float = 0.0
    """Share of the base model's images in which the concept must be recognised; below it the group is given up."""
    rounds: list[Round] = field(default_factory=lambda: [Round()])
    decided_gates: list[Gate] = field(default_factory=list)
    """Gates that the first round decided."""

    @property
    def scored_rounds(self) -> list[Round]:
        """The rounds in which every prompt was scored; the first as far as it was."""
        return [self.rounds[0], *(one for one in self.rounds[1:] if len(one.after.hits) == len(self.group.phrases))]

    @property
    def before(self) -> PromptScores:
        """The base model's scores, averaged over the scored rounds."""
        return mean_scores([one.before for one in self.scored_rounds])

    @property
    def after(self) -> PromptScores:
        """The edited model's scores, averaged over the scored rounds."""
        return mean_scores([one.after for one in self.scored_rounds])

    @property
    def confused(self) -> set[Phrase]:
        """The prompts in whose images the judge is confused, over the scored rounds."""
        return set[Phrase]().union(*(one.confused for one in self.scored_rounds))

    @property
    def scored_count(self) -> int:
        """Number of prompts scored so far."""
        return len(self.rounds[0].after.hits)

    @property
    def is_round_complete(self) -> bool:
        """Whether every prompt has been scored in the current round."""
        return len(self.rounds[-1].after.hits) == len(self.group.phrases)

    @property
    def complete(self) -> bool:
        """Whether every prompt has been scored in every round."""
        return self.is_round_complete and len(self.rounds) == self.group.rounds

    def is_unrecognised(self, level: float) -> bool:
        """Whether the removed concept is shown to be recognised too rarely before the edit for its absence to mean anything."""
        if self.group.concept is None or not self.minimum_recognition or not self.before.hits:
            return False
        return estimate_rate(self.before.hits, 1 - level).high < self.minimum_recognition

    @property
    def scored_group(self) -> PromptGroup:
        """The group reduced to the prompts scored so far."""
        return replace(self.group, phrases=self.group.phrases[: self.scored_count])

    def start_round(self, level: float, gates: int) -> None:
        """Start another round once every prompt was scored; gates that the first round decided stay as they are."""
        if len(self.rounds) == 1:
            first = zip(self.gates, self.evidence, strict=True)
            self.decided_gates = [gate for gate, evidence in first if evidence.is_decided(level, gates)]
        self.rounds.append(Round())

    def next_batch(self, count: int) -> PromptGroup:
        """Return the next ``count`` prompts of the current round as a group."""
        start = len(self.rounds[-1].after.hits)
        return replace(self.group, phrases=self.group.phrases[start : start + count])

    def seeds(self, seeds: Sequence[int]) -> list[int]:
        """Return the seeds of the current round; those of the first are ``seeds``."""
        return round_seeds(seeds, len(self.rounds) - 1)

    def score_batch(self, judge: Judge, batch: PromptGroup, generated: GeneratedImages, seeds: Sequence[int]) -> None:
        """Score the images of a batch of prompts at the seeds of the current round."""
        current = self.rounds[-1]
        after = score_prompts(judge, batch, generated, "after", seeds, self.recogniser)
        current.after.extend(after)
        current.confused |= self.find_confused(judge, batch, generated, seeds, after.hits)
        side: Side = "reference" if batch.needs_references else "before"
        current.before.extend(score_prompts(judge, batch, generated, side, seeds, self.recogniser))
        if any(gate.measure == "retain_similarity" for gate in self.gates):
            current.ssim += ssim_by_prompt(batch, generated, seeds)

    def missing_references(
        self, judge: Judge, batch: PromptGroup, generated: GeneratedImages, seeds: Sequence[int]
    ) -> list[ImageSpec]:
        """Return the base model's images of what the prompts should read as, as far as a batch needs them.

        A group that asks for an absence needs those of prompts that show what must be absent.
        """
        if batch.needs_references:
            phrases: Sequence[Phrase] = batch.phrases
        else:
            hits = score_prompts(judge, batch, generated, "after", seeds, self.recogniser).hits
            phrases = batch.find_suspects(hits)
        return [spec for spec in batch.reference_specs(phrases, seeds) if spec not in generated.before]

    def find_confused(
        self,
        judge: Judge,
        batch: PromptGroup,
        generated: GeneratedImages,
        seeds: Sequence[int],
        hits: Sequence[float],
    ) -> set[Phrase]:
        """Return the prompts of a batch whose references show what must be absent too, so that their images show nothing."""
        suspects = batch.find_suspects(hits)
        if not suspects:
            return set()
        compared = replace(batch, phrases=tuple(suspects))
        found = score_prompts(judge, compared, generated, "reference", seeds, self.recogniser).hits
        return {phrase for phrase, hit in zip(suspects, found, strict=True) if hit}

    @property
    def accuracy_drops(self) -> list[float]:
        """Accuracy before the edit minus accuracy after it, of each prompt."""
        return drops(self.before, self.after)

    @property
    def evidence(self) -> list[GateEvidence]:
        """The evidence of each gate."""
        return [self.gate_evidence(gate) for gate in self.gates]

    def gate_evidence(self, gate: Gate) -> GateEvidence:
        """Return the evidence of a gate: of the first round if that decided it, else of all scored rounds."""
        used = self.rounds[:1] if gate in self.decided_gates else self.scored_rounds
        values, control = gate_values(gate.measure, used)
        chosen = self.choose_prompts()
        return GateEvidence(
            gate,
            [*compress(values, chosen)],
            self.complete and len(used) == self.group.rounds,
            [*compress(control, chosen)],
            len(used),
            left_out=chosen.count(False),
        )

    def choose_prompts(self) -> list[bool]:
        """Return which scored prompts count: all but those in which the judge is confused.

        If these are too many of the prompts about a removed concept, all count: the judge mistakes its replacement for it.
        """
        scored, confused = self.scored_group.phrases, self.confused
        if self.group.concept and len(confused) > MAX_CONFUSED_SHARE * len(scored):
            return [True] * len(scored)
        return [phrase not in confused for phrase in scored]


def drops(before: PromptScores, after: PromptScores) -> list[float]:
    """Return the share of hits before minus that after, of each prompt."""
    return [b - a for b, a in zip(before.hits, after.hits, strict=True)]


def gate_values(measure: Measure, rounds: Sequence[Round]) -> tuple[list[float], list[float]]:
    """Return a measure's value for each prompt, and the base model's values that it is controlled by, averaged over rounds."""
    if measure == "retain_similarity":
        return [sum(values) / len(rounds) for values in zip(*(one.ssim for one in rounds), strict=True)], []
    before, after = (mean_scores([getattr(one, side) for one in rounds]) for side in ("before", "after"))
    controlled = (*ABSENCE_MEASURES, *REFERENCE_MEASURES)
    values = after.hits if measure in RATE_MEASURES else drops(before, after)
    return values, before.hits if measure in controlled else []


def ssim_by_prompt(group: PromptGroup, generated: GeneratedImages, seeds: Sequence[int]) -> list[float]:
    """Return the SSIM of each prompt's images before and after the edit, averaged over the seeds."""
    specs = [ImageSpec(prompt, seed) for prompt in group.prompts for seed in seeds]
    by_image = ssim([generated.before[spec] for spec in specs], [generated.after[spec] for spec in specs])
    return [float(value) for value in by_image.reshape(-1, len(seeds)).mean(1)]


def gates_for(group: PromptGroup, gates: Sequence[Gate]) -> list[Gate]:
    """Return the gates that a group of prompts decides."""
    measures: dict[str, tuple[Measure, ...]] = {
        "target": ("target_accuracy",),
        "generality": ("generality_accuracy",),
        "neighbours": ("neighbour_drop",),
        "retain": ("retain_object_drop", "retain_similarity") if group.kind == "object" else ("retain_style_drop",),
        "destination": ("destination_drop",),
        "styled_objects": ("styled_object_drop",),
        "other_removed": ("other_removed_accuracy",),
    }
    return [
        gate for gate in gates_of_kind(gates, group.removal_kind or group.kind) if gate.measure in measures[group.name]
    ]


def gates_of_kind(gates: Sequence[Gate], kind: ConceptKind) -> list[Gate]:
    """Return the gates that apply to a kind of concept: its own, and those of all kinds for other measures."""
    own = {gate.measure for gate in gates if gate.kind == kind}
    return [gate for gate in gates if gate.kind == kind or (gate.kind is None and gate.measure not in own)]


def plan_evaluations(
    groups: Sequence[PromptGroup],
    gates: Sequence[Gate],
    seed: int,
    recognisers: Mapping[int, Recogniser] = MappingProxyType({}),
    minimum_recognition: float = 0.0,
) -> list[GroupEvaluation]:
    """Return an evaluation for each group, with its prompts in random order, as the sequential bounds assume.

    Prompts that several groups share come in the same order, so that the groups share images.

    Args:
        recognisers: by index of the removal, what recognises its concept in place of the zero-shot judge.
        minimum_recognition: share of the base model's images in which a removed concept must be recognised.
    """
    return [
        GroupEvaluation(
            shuffle_group(group, seed),
            gates_for(group, gates),
            recognisers.get(group.removal) if group.concept and group.removal is not None else None,
            minimum_recognition,
        )
        for group in groups
    ]


def shuffle_group(group: PromptGroup, seed: int) -> PromptGroup:
    """Return the group with its prompts in random order, that of a digest of each."""

    def priority(phrase: Phrase) -> bytes:
        return hashlib.sha256(f"{seed} {phrase.text()}".encode()).digest()

    return replace(group, phrases=tuple(sorted(group.phrases, key=priority)))


def undecided_evaluations(
    evaluations: Sequence[GroupEvaluation], level: float, sequential: bool
) -> list[GroupEvaluation]:
    """Return the evaluations that need more prompts; without ``sequential``, all that are not complete."""
    gates = sum(len(evaluation.gates) for evaluation in evaluations)

    def is_decided(evaluation: GroupEvaluation) -> bool:
        return (
            sequential
            and evaluation.scored_count > 0
            and (evaluation.is_unrecognised(level) or all(one.is_decided(level, gates) for one in evaluation.evidence))
        )

    return [evaluation for evaluation in evaluations if not evaluation.complete and not is_decided(evaluation)]


def run_evaluations(
    evaluations: Sequence[GroupEvaluation],
    judge: Judge,
    generator: ImagePairGenerator,
    seeds: Sequence[int],
    level: float,
    sequential: bool,
    progress: ProgressCallback,
) -> GeneratedImages:
    """Generate and score a batch of prompts of each evaluation at a time, until every gate is decided or no prompt is left.

    Args:
        level: permitted error of the verdict, 1 - confidence.
        sequential: whether to stop early.
    """
    gates = sum(len(evaluation.gates) for evaluation in evaluations)
    generated, planned = GeneratedImages(), len(planned_specs([evaluation.group for evaluation in evaluations], seeds))
    while undecided := undecided_evaluations(evaluations, level, sequential):
        for evaluation in undecided:
            if evaluation.is_round_complete:
                evaluation.start_round(level, gates)
        batches = [(one, one.next_batch(INTERIM_BATCH), one.seeds(seeds)) for one in undecided]
        specs = dict.fromkeys(spec for _, batch, own in batches for spec in batch.specs(own))
        new = [spec for spec in specs if spec not in generated.after]
        part = SubProgress(progress, len(generated.after) / planned, len(new) / planned)
        generator.generate(new, generated, part)
        score_batches(batches, judge, generator, generated)
    progress(1.0)
    return generated


def score_batches(
    batches: Sequence[tuple[GroupEvaluation, PromptGroup, Sequence[int]]],
    judge: Judge,
    generator: ImagePairGenerator,
    generated: GeneratedImages,
) -> None:
    """Generate the references that batches need, then score each batch at its seeds."""
    missing = [one.missing_references(judge, batch, generated, seeds) for one, batch, seeds in batches]
    if references := list(dict.fromkeys(spec for specs in missing for spec in specs)):
        generator.generate_base(references, generated, no_progress)
    for evaluation, batch, seeds in batches:
        evaluation.score_batch(judge, batch, generated, seeds)
