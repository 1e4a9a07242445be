"""Validation: the same prompts and seeds before and after the edit, judged, with a verdict against the request's thresholds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from api_schemas.edits import Thresholds
from api_schemas.report import Check, Estimate, GroupScore, JudgeRecord, SamplerRecord, Validation
from editor.judging.groups import Group
from editor.judging.judge import Image, Judge
from editor.judging.sampling import ImageCache, Sampler, Shot, Tick, draw, put_edited
from editor.judging.statistics import at_most, estimate
from editor.quickfix.update import TensorUpdate

Images = dict[Shot, Image]


@dataclass(frozen=True)
class Drawn:
    """Every image of a validation, by shot."""

    before: Images
    after: Images


def shots_of(groups: Sequence[Group], seeds: Sequence[int]) -> list[Shot]:
    """Each prompt at each seed, once."""
    prompts = dict.fromkeys(prompt for group in groups for prompt in group.prompts)
    return [Shot(prompt, seed) for prompt in prompts for seed in seeds]


def draw_all(
    pipeline: Any,
    updates: Sequence[TensorUpdate],
    cache: ImageCache,
    sampler: Sampler,
    shots: Sequence[Shot],
    tick: Tick,
) -> Drawn:
    """Before-images from the cache or the base model, then after-images; leaves the pipeline edited."""
    before = cache.draw(pipeline, sampler, shots, lambda done: tick(done / 2))
    put_edited(pipeline, updates)
    after = draw(pipeline, sampler, shots, lambda done: tick(0.5 + done / 2))
    return Drawn(dict(zip(shots, before, strict=True)), dict(zip(shots, after, strict=True)))


@dataclass(frozen=True)
class Marks:
    """Per prompt, averaged over seeds: share recognised, and similarity to the described class."""

    hits: list[float]
    scores: list[float]


def mark(judge: Judge, group: Group, images: Images, seeds: Sequence[int], names: Sequence[str]) -> Marks:
    """Judge one group's images."""
    shots = [Shot(prompt, seed) for prompt in group.prompts for seed in seeds]
    truths = [truth for truth in group.truths for _ in seeds]
    chosen, scores = judge.recognise(group.asks, judge.images([images[shot] for shot in shots]), names)
    hits = torch.tensor([float(a == b) for a, b in zip(chosen, truths, strict=True)])
    own = scores[range(len(shots)), [names.index(truth) for truth in truths]]
    per_prompt = (len(group.phrases), len(seeds))
    return Marks(hits.reshape(per_prompt).mean(1).tolist(), own.reshape(per_prompt).mean(1).tolist())


def score(judge: Judge, group: Group, drawn: Drawn, seeds: Sequence[int], confidence: float) -> GroupScore:
    """Before and after, and the drop paired by prompt."""
    names = judge.names(group.asks, group.truths)
    before, after = (mark(judge, group, images, seeds, names) for images in (drawn.before, drawn.after))

    def figure(values: Sequence[float]) -> Estimate:
        return estimate(values, confidence)

    return GroupScore(
        group=group.name,
        removal=group.removal,
        asks=group.asks,
        prompts=group.prompts,
        accuracy_before=figure(before.hits),
        accuracy_after=figure(after.hits),
        accuracy_drop=figure([b - a for b, a in zip(before.hits, after.hits, strict=True)]),
        score_before=figure(before.scores),
        score_after=figure(after.scores),
    )


def check(group: GroupScore, thresholds: Thresholds) -> Check:
    """The threshold that applies to a group: gone for target prompts, kept for the others.

    A concept that the judge did not find before the edit either was not shown to be removed: inconclusive.
    """
    gone = group.group in ("target", "generality")
    measured = group.accuracy_after if gone else group.accuracy_drop
    kept = thresholds.neighbour_drop if group.group == "neighbours" else thresholds.retain_drop
    limit = thresholds.target_accuracy if gone else kept
    return Check(
        name=f"{group.group} {group.asks} {'accuracy' if gone else 'accuracy drop'}",
        removal=group.removal,
        measured=measured,
        threshold=limit,
        outcome="inconclusive" if gone and group.accuracy_before.value <= limit else at_most(measured, limit),
    )


def judged(
    judge: Judge, groups: Sequence[Group], drawn: Drawn, sampler: SamplerRecord, thresholds: Thresholds
) -> Validation:
    """Scores and checks of all groups."""
    scores = [score(judge, group, drawn, sampler.seeds, thresholds.confidence) for group in groups]
    return Validation(
        judge=JudgeRecord(id=judge.name, sha256=judge.digest, shares_weights_with_model=False),
        sampler=sampler,
        confidence=thresholds.confidence,
        groups=scores,
        checks=[check(group, thresholds) for group in scores],
    )
