"""Trials: groups of prompts drawn before and after the edit, a few at a time, until every gate is settled."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from api_schemas.gates import Gate, Measure
from editor.generation.config import Image, ImageSpec, Sampler
from editor.generation.sampling import ImageCache, apply_updates, revert_updates
from editor.io.progress import ProgressCallback, SubProgress
from editor.judging.gates import ABSENCE_MEASURES, GateEvidence
from editor.judging.image_similarity import ssim
from editor.judging.judge import Judge
from editor.judging.prompt_groups import PromptGroup
from editor.methods.tensor_update import TensorUpdate

Images = dict[ImageSpec, Image]
INTERIM_BATCH = 16
"""Prompts of each unsettled group that are drawn between two looks at the gates."""


@dataclass(frozen=True)
class GeneratedImages:
    """Every image of a validation, by shot."""

    before: Images = field(default_factory=dict)
    after: Images = field(default_factory=dict)


@dataclass(frozen=True)
class ImagePairGenerator:
    """A pipeline that draws with the base model's tensors or the edited ones, and keeps what it drew."""

    pipeline: Any
    updates: Sequence[TensorUpdate]
    sampler: Sampler
    before: ImageCache
    after: ImageCache

    def generate(self, shots: Sequence[ImageSpec], drawn: GeneratedImages, tick: ProgressCallback) -> None:
        """Draw shots with either, as far as they are not there yet. The pipeline is left as the base model's."""
        drawn.before.update(self.cached_images(self.before, shots, SubProgress(tick, 0.0, 0.5)))
        apply_updates(self.pipeline, self.updates)
        try:
            drawn.after.update(self.cached_images(self.after, shots, SubProgress(tick, 0.5, 0.5)))
        finally:
            revert_updates(self.pipeline, self.updates)

    def cached_images(self, cache: ImageCache, shots: Sequence[ImageSpec], tick: ProgressCallback) -> Images:
        """By shot."""
        return dict(zip(shots, cache.generate(self.pipeline, self.sampler, shots, tick), strict=True))


@dataclass
class PromptScores:
    """Per prompt, averaged over seeds."""

    hits: list[float] = field(default_factory=list)
    """Share recognised."""
    similarities: list[float] = field(default_factory=list)
    """Similarity to the described class."""
    clip_scores: list[float] = field(default_factory=list)
    """CLIPScore of the prompt itself."""

    def extend(self, more: "PromptScores") -> None:
        """Those of further prompts."""
        self.hits += more.hits
        self.similarities += more.similarities
        self.clip_scores += more.clip_scores


def image_specs(groups: Sequence[PromptGroup], seeds: Sequence[int]) -> list[ImageSpec]:
    """Each prompt at each seed, once."""
    prompts = dict.fromkeys(prompt for group in groups for prompt in group.prompts)
    return [ImageSpec(prompt, seed) for prompt in prompts for seed in seeds]


def score_group(
    judge: Judge, group: PromptGroup, images: Images, seeds: Sequence[int], names: Sequence[str]
) -> PromptScores:
    """Judge one group's images."""
    shots = [ImageSpec(prompt, seed) for prompt in group.prompts for seed in seeds]
    truths = [truth for truth in group.expected_names for _ in seeds]
    seen = judge.embed_images([images[shot] for shot in shots])
    chosen, scores = judge.classify(group.kind, seen, names)
    hits = torch.tensor([float(a == b) for a, b in zip(chosen, truths, strict=True)])
    own = scores[range(len(shots)), [names.index(truth) for truth in truths]]
    clips = judge.clip_scores(seen, [shot.prompt for shot in shots])
    by_prompt = (len(group.phrases), len(seeds))
    return PromptScores(*(values.reshape(by_prompt).mean(1).tolist() for values in (hits, own, clips)))


@dataclass
class GroupEvaluation:
    """A group of prompts under test: what it is asked, and what was found so far."""

    group: PromptGroup
    gates: Sequence[Gate]
    before: PromptScores = field(default_factory=PromptScores)
    after: PromptScores = field(default_factory=PromptScores)
    ssim: list[float] = field(default_factory=list)
    """SSIM of unrelated images, before and after."""

    @property
    def scored_count(self) -> int:
        """Prompts judged so far."""
        return len(self.after.hits)

    @property
    def complete(self) -> bool:
        """Whether no prompt is left."""
        return self.scored_count == len(self.group.phrases)

    @property
    def scored_group(self) -> PromptGroup:
        """The prompts that were judged."""
        return replace(self.group, phrases=self.group.phrases[: self.scored_count])

    def next_batch(self, count: int) -> PromptGroup:
        """The prompts to judge now."""
        return replace(self.group, phrases=self.group.phrases[self.scored_count : self.scored_count + count])

    def score_batch(self, judge: Judge, part: PromptGroup, drawn: GeneratedImages, seeds: Sequence[int]) -> None:
        """Judge some prompts' images."""
        names = judge.class_names(self.group.kind, self.group.expected_names)
        self.before.extend(score_group(judge, part, drawn.before, seeds, names))
        self.after.extend(score_group(judge, part, drawn.after, seeds, names))
        if any(gate.measure == "retain_similarity" for gate in self.gates):
            self.ssim += ssim_by_prompt(part, drawn, seeds)

    @property
    def accuracy_drops(self) -> list[float]:
        """Accuracy before less after, paired by prompt."""
        return [b - a for b, a in zip(self.before.hits, self.after.hits, strict=True)]

    @property
    def evidence(self) -> list[GateEvidence]:
        """For each gate."""
        return [GateEvidence(gate, *self.gate_values(gate.measure)) for gate in self.gates]

    def gate_values(self, measure: Measure) -> tuple[list[float], bool, list[float]]:
        """What a gate goes by: a value for each prompt, whether these are all, and the unedited model's."""
        if measure == "retain_similarity":
            return self.ssim, self.complete, []
        if measure in ABSENCE_MEASURES:
            return self.after.hits, self.complete, self.before.hits
        return self.accuracy_drops, self.complete, []


def ssim_by_prompt(group: PromptGroup, drawn: GeneratedImages, seeds: Sequence[int]) -> list[float]:
    """SSIM of each prompt's images before and after, averaged over seeds."""
    shots = [ImageSpec(prompt, seed) for prompt in group.prompts for seed in seeds]
    found = ssim([drawn.before[shot] for shot in shots], [drawn.after[shot] for shot in shots])
    return [float(value) for value in found.reshape(-1, len(seeds)).mean(1)]


def gates_for(group: PromptGroup, gates: Sequence[Gate]) -> list[Gate]:
    """Those that a group of prompts answers."""
    about: dict[str, tuple[Measure, ...]] = {
        "target": ("target_accuracy",),
        "generality": ("generality_accuracy",),
        "neighbours": ("neighbour_drop",),
        "retain": ("retain_object_drop", "retain_similarity") if group.kind == "object" else ("retain_style_drop",),
    }
    return [gate for gate in gates if gate.measure in about[group.name]]


def plan_evaluations(groups: Sequence[PromptGroup], gates: Sequence[Gate], seed: int) -> list[GroupEvaluation]:
    """A evaluation for each group. Prompts come in random order, as sequential bounds assume; equal groups in the same one."""
    return [GroupEvaluation(shuffle_group(group, seed), gates_for(group, gates)) for group in groups]


def shuffle_group(group: PromptGroup, seed: int) -> PromptGroup:
    """The same prompts in random order."""
    phrases = list(group.phrases)
    random.Random(seed).shuffle(phrases)
    return replace(group, phrases=tuple(phrases))


def undecided_evaluations(
    evaluations: Sequence[GroupEvaluation], level: float, sequential: bool
) -> list[GroupEvaluation]:
    """Those of which more must be drawn."""
    gates = sum(len(evaluation.gates) for evaluation in evaluations)

    def settled(evaluation: GroupEvaluation) -> bool:
        return (
            sequential
            and evaluation.scored_count > 0
            and all(one.is_decided(level, gates) for one in evaluation.evidence)
        )

    return [evaluation for evaluation in evaluations if not evaluation.complete and not settled(evaluation)]


def run_evaluations(
    evaluations: Sequence[GroupEvaluation],
    judge: Judge,
    generator: ImagePairGenerator,
    seeds: Sequence[int],
    level: float,
    sequential: bool,
    tick: ProgressCallback,
) -> GeneratedImages:
    """Draw and judge, a few prompts of each evaluation at a time, until every gate is settled or no prompt is left."""
    drawn, planned = GeneratedImages(), len(image_specs([evaluation.group for evaluation in evaluations], seeds))
    while going := undecided_evaluations(evaluations, level, sequential):
        parts = [evaluation.next_batch(INTERIM_BATCH) for evaluation in going]
        new = [shot for shot in image_specs(parts, seeds) if shot not in drawn.after]
        generator.generate(new, drawn, SubProgress(tick, len(drawn.after) / planned, len(new) / planned))
        for evaluation, part in zip(going, parts, strict=True):
            evaluation.score_batch(judge, part, drawn, seeds)
    tick(1.0)
    return drawn
