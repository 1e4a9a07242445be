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
from editor.solver.low_rank_update import TensorUpdate

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

    def draw(self, shots: Sequence[ImageSpec], drawn: GeneratedImages, tick: ProgressCallback) -> None:
        """Draw shots with either, as far as they are not there yet. The pipeline is left as the base model's."""
        drawn.before.update(self.images(self.before, shots, SubProgress(tick, 0.0, 0.5)))
        apply_updates(self.pipeline, self.updates)
        try:
            drawn.after.update(self.images(self.after, shots, SubProgress(tick, 0.5, 0.5)))
        finally:
            revert_updates(self.pipeline, self.updates)

    def images(self, cache: ImageCache, shots: Sequence[ImageSpec], tick: ProgressCallback) -> Images:
        """By shot."""
        return dict(zip(shots, cache.generate(self.pipeline, self.sampler, shots, tick), strict=True))


@dataclass
class PromptScores:
    """Per prompt, averaged over seeds."""

    hits: list[float] = field(default_factory=list)
    """Share recognised."""
    scores: list[float] = field(default_factory=list)
    """Similarity to the described class."""
    clips: list[float] = field(default_factory=list)
    """CLIPScore of the prompt itself."""

    def add(self, more: "PromptScores") -> None:
        """Those of further prompts."""
        self.hits += more.hits
        self.scores += more.scores
        self.clips += more.clips


def image_specs(groups: Sequence[PromptGroup], seeds: Sequence[int]) -> list[ImageSpec]:
    """Each prompt at each seed, once."""
    prompts = dict.fromkeys(prompt for group in groups for prompt in group.prompts)
    return [ImageSpec(prompt, seed) for prompt in prompts for seed in seeds]


def score_group(
    judge: Judge, group: PromptGroup, images: Images, seeds: Sequence[int], names: Sequence[str]
) -> PromptScores:
    """Judge one group's images."""
    shots = [ImageSpec(prompt, seed) for prompt in group.prompts for seed in seeds]
    truths = [truth for truth in group.truths for _ in seeds]
    seen = judge.images([images[shot] for shot in shots])
    chosen, scores = judge.recognise(group.asks, seen, names)
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
    likeness: list[float] = field(default_factory=list)
    """SSIM of unrelated images, before and after."""

    @property
    def taken(self) -> int:
        """Prompts judged so far."""
        return len(self.after.hits)

    @property
    def complete(self) -> bool:
        """Whether no prompt is left."""
        return self.taken == len(self.group.phrases)

    @property
    def so_far(self) -> PromptGroup:
        """The prompts that were judged."""
        return replace(self.group, phrases=self.group.phrases[: self.taken])

    def next(self, count: int) -> PromptGroup:
        """The prompts to judge now."""
        return replace(self.group, phrases=self.group.phrases[self.taken : self.taken + count])

    def add(self, judge: Judge, part: PromptGroup, drawn: GeneratedImages, seeds: Sequence[int]) -> None:
        """Judge some prompts' images."""
        names = judge.names(self.group.asks, self.group.truths)
        self.before.add(score_group(judge, part, drawn.before, seeds, names))
        self.after.add(score_group(judge, part, drawn.after, seeds, names))
        if any(gate.measure == "retain_similarity" for gate in self.gates):
            self.likeness += ssim_by_prompt(part, drawn, seeds)

    @property
    def drops(self) -> list[float]:
        """Accuracy before less after, paired by prompt."""
        return [b - a for b, a in zip(self.before.hits, self.after.hits, strict=True)]

    @property
    def evidence(self) -> list[GateEvidence]:
        """For each gate."""
        return [GateEvidence(gate, *self.values(gate.measure)) for gate in self.gates]

    def values(self, measure: Measure) -> tuple[list[float], bool, list[float]]:
        """What a gate goes by: a value for each prompt, whether these are all, and the unedited model's."""
        if measure == "retain_similarity":
            return self.likeness, self.complete, []
        if measure in ABSENCE_MEASURES:
            return self.after.hits, self.complete, self.before.hits
        return self.drops, self.complete, []


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
        "retain": ("retain_object_drop", "retain_similarity") if group.asks == "object" else ("retain_style_drop",),
    }
    return [gate for gate in gates if gate.measure in about[group.name]]


def plan_evaluations(groups: Sequence[PromptGroup], gates: Sequence[Gate], seed: int) -> list[GroupEvaluation]:
    """A trial for each group. Prompts come in random order, as sequential bounds assume; equal groups in the same one."""
    return [GroupEvaluation(shuffle_group(group, seed), gates_for(group, gates)) for group in groups]


def shuffle_group(group: PromptGroup, seed: int) -> PromptGroup:
    """The same prompts in random order."""
    phrases = list(group.phrases)
    random.Random(seed).shuffle(phrases)
    return replace(group, phrases=tuple(phrases))


def undecided_evaluations(trials: Sequence[GroupEvaluation], level: float, sequential: bool) -> list[GroupEvaluation]:
    """Those of which more must be drawn."""
    gates = sum(len(trial.gates) for trial in trials)

    def settled(trial: GroupEvaluation) -> bool:
        return sequential and trial.taken > 0 and all(one.settled(level, gates) for one in trial.evidence)

    return [trial for trial in trials if not trial.complete and not settled(trial)]


def run_evaluations(
    trials: Sequence[GroupEvaluation],
    judge: Judge,
    easel: ImagePairGenerator,
    seeds: Sequence[int],
    level: float,
    sequential: bool,
    tick: ProgressCallback,
) -> GeneratedImages:
    """Draw and judge, a few prompts of each trial at a time, until every gate is settled or no prompt is left."""
    drawn, planned = GeneratedImages(), len(image_specs([trial.group for trial in trials], seeds))
    while going := undecided_evaluations(trials, level, sequential):
        parts = [trial.next(INTERIM_BATCH) for trial in going]
        new = [shot for shot in image_specs(parts, seeds) if shot not in drawn.after]
        easel.draw(new, drawn, SubProgress(tick, len(drawn.after) / planned, len(new) / planned))
        for trial, part in zip(going, parts, strict=True):
            trial.add(judge, part, drawn, seeds)
    tick(1.0)
    return drawn
