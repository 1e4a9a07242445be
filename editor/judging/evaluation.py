"""Sequential evaluation: generate and score batches of prompts before and after the edit until every gate is decided."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import eq
from types import MappingProxyType
from typing import Any

import torch

from api_schemas.gates import Gate, Measure
from editor.checkpoints.tensor_update import TensorUpdate
from editor.generation.config import Image, ImageSpec, Sampler
from editor.generation.edited_weights import edited_weights
from editor.generation.sampling import ImageCache
from editor.io.progress import ProgressCallback, SubProgress
from editor.judging.gates import ABSENCE_MEASURES, GateEvidence
from editor.judging.image_similarity import ssim
from editor.judging.judge import Judge
from editor.judging.prompt_groups import PromptGroup
from editor.judging.recognisers import Recogniser
from editor.prompts.concepts import ConceptKind
from editor.stats.intervals import estimate_rate

Images = dict[ImageSpec, Image]
INTERIM_BATCH = 16
"""Prompts of each undecided group that are scored between two interim analyses of the gates."""


@dataclass(frozen=True)
class GeneratedImages:
    """The images of a validation by prompt and seed, of the base model and of the edited one."""

    before: Images = field(default_factory=dict)
    after: Images = field(default_factory=dict)


@dataclass(frozen=True)
class ImagePairGenerator:
    """A pipeline that generates images with the base model's tensors and with the edited ones, and caches both."""

    pipeline: Any
    updates: Sequence[TensorUpdate]
    sampler: Sampler
    before: ImageCache
    after: ImageCache

    def generate(self, specs: Sequence[ImageSpec], generated: GeneratedImages, progress: ProgressCallback) -> None:
        """Add the images of ``specs``, before and after the edit, to ``generated``; the pipeline ends with the base tensors."""
        generated.before.update(self.cached_images(self.before, specs, SubProgress(progress, 0.0, 0.5)))
        with edited_weights(self.pipeline, self.updates):
            generated.after.update(self.cached_images(self.after, specs, SubProgress(progress, 0.5, 0.5)))

    def cached_images(self, cache: ImageCache, specs: Sequence[ImageSpec], progress: ProgressCallback) -> Images:
        """Return the images by spec, from the cache where it has them."""
        return dict(zip(specs, cache.generate(self.pipeline, self.sampler, specs, progress), strict=True))


@dataclass
class PromptScores:
    """Scores of a group of prompts, each averaged over the seeds."""

    hits: list[float] = field(default_factory=list)
    """Share of a prompt's images that are recognised as the expected class."""
    similarities: list[float] = field(default_factory=list)
    """Cosine similarity to the expected class."""
    clip_scores: list[float] = field(default_factory=list)
    """CLIPScore of the image and its prompt."""

    def extend(self, more: "PromptScores") -> None:
        """Append the scores of further prompts."""
        self.hits += more.hits
        self.similarities += more.similarities
        self.clip_scores += more.clip_scores


def image_specs(groups: Sequence[PromptGroup], seeds: Sequence[int]) -> list[ImageSpec]:
    """Return each distinct prompt of the groups at each seed."""
    prompts = dict.fromkeys(prompt for group in groups for prompt in group.prompts)
    return [ImageSpec(prompt, seed) for prompt in prompts for seed in seeds]


def score_group(
    judge: Judge,
    group: PromptGroup,
    images: Images,
    seeds: Sequence[int],
    names: Sequence[str],
    recogniser: Recogniser | None = None,
) -> PromptScores:
    """Score a group's images; ``names`` are the classes that the judge chooses from unless a recogniser decides."""
    specs = [ImageSpec(prompt, seed) for prompt in group.prompts for seed in seeds]
    expected = [name for name in group.expected_names for _ in seeds]
    embedded = judge.embed_images([images[spec] for spec in specs])
    recognised, similarities = judge.classify(group.kind, embedded, names)
    shown = recogniser.recognise([images[spec] for spec in specs]) if recogniser else map(eq, recognised, expected)
    hits = torch.tensor([float(hit) for hit in shown])
    own = similarities[range(len(specs)), [names.index(name) for name in expected]]
    clip_scores = judge.clip_scores(embedded, [spec.prompt for spec in specs])
    shape = (len(group.phrases), len(seeds))
    return PromptScores(*(values.reshape(shape).mean(1).tolist() for values in (hits, own, clip_scores)))


@dataclass
class GroupEvaluation:
    """A group of prompts under sequential evaluation, with the gates that it decides and its scores so far."""

    group: PromptGroup
    gates: Sequence[Gate]
    recogniser: Recogniser | None = None
    """What recognises the group's concept; None for the zero-shot judge."""
    minimum_recognition: float = 0.0
    """Share of the base model's images in which the concept must be recognised; below it the group is given up."""
    before: PromptScores = field(default_factory=PromptScores)
    after: PromptScores = field(default_factory=PromptScores)
    ssim: list[float] = field(default_factory=list)
    """SSIM of each prompt's images before and after the edit, if a gate asks for it."""

    @property
    def scored_count(self) -> int:
        """Number of prompts scored so far."""
        return len(self.after.hits)

    @property
    def complete(self) -> bool:
        """Whether every prompt has been scored."""
        return self.scored_count == len(self.group.phrases)

    def is_unrecognised(self, level: float) -> bool:
        """Whether the removed concept is shown to be recognised too rarely before the edit for its absence to mean anything."""
        if self.group.concept is None or not self.minimum_recognition or not self.before.hits:
            return False
        return estimate_rate(self.before.hits, 1 - level).high < self.minimum_recognition

    @property
    def scored_group(self) -> PromptGroup:
        """The group reduced to the prompts scored so far."""
        return replace(self.group, phrases=self.group.phrases[: self.scored_count])

    def next_batch(self, count: int) -> PromptGroup:
        """Return the next ``count`` prompts as a group."""
        return replace(self.group, phrases=self.group.phrases[self.scored_count : self.scored_count + count])

    def score_batch(self, judge: Judge, batch: PromptGroup, generated: GeneratedImages, seeds: Sequence[int]) -> None:
        """Score the images of a batch of prompts."""
        choices, group = self.group.choices, self.group
        names = choices.names if choices else judge.class_names(group.kind, group.expected_names)
        self.before.extend(score_group(judge, batch, generated.before, seeds, names, self.recogniser))
        self.after.extend(score_group(judge, batch, generated.after, seeds, names, self.recogniser))
        if any(gate.measure == "retain_similarity" for gate in self.gates):
            self.ssim += ssim_by_prompt(batch, generated, seeds)

    @property
    def accuracy_drops(self) -> list[float]:
        """Accuracy before the edit minus accuracy after it, of each prompt."""
        return [b - a for b, a in zip(self.before.hits, self.after.hits, strict=True)]

    @property
    def evidence(self) -> list[GateEvidence]:
        """The evidence of each gate."""
        return [GateEvidence(gate, *self.gate_values(gate.measure)) for gate in self.gates]

    def gate_values(self, measure: Measure) -> tuple[list[float], bool, list[float]]:
        """Return a measure's value for each prompt, whether all prompts are scored, and the base model's values."""
        if measure == "retain_similarity":
            return self.ssim, self.complete, []
        if measure in ABSENCE_MEASURES:
            return self.after.hits, self.complete, self.before.hits
        return self.accuracy_drops, self.complete, []


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

    Groups with the same prompts get the same order.

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
    """Return the group with its prompts in random order."""
    phrases = list(group.phrases)
    random.Random(seed).shuffle(phrases)
    return replace(group, phrases=tuple(phrases))


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
    generated, planned = GeneratedImages(), len(image_specs([evaluation.group for evaluation in evaluations], seeds))
    while undecided := undecided_evaluations(evaluations, level, sequential):
        batches = [evaluation.next_batch(INTERIM_BATCH) for evaluation in undecided]
        new = [spec for spec in image_specs(batches, seeds) if spec not in generated.after]
        generator.generate(new, generated, SubProgress(progress, len(generated.after) / planned, len(new) / planned))
        for evaluation, batch in zip(undecided, batches, strict=True):
            evaluation.score_batch(judge, batch, generated, seeds)
    progress(1.0)
    return generated
