"""Scores of prompts: what the judge recognises in their images, averaged over the seeds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from editor.generation.config import Image, ImageSpec
from editor.judging.judge import Judge
from editor.judging.prompt_groups import PromptGroup
from editor.judging.recognisers import Recogniser

Images = dict[ImageSpec, Image]
Side = Literal["before", "after", "reference"]
"""The images that are scored: of the base model, of the edited one, or the base model's of what the prompts should read as."""


@dataclass(frozen=True)
class GeneratedImages:
    """The images of a validation by prompt and seed, of the base model and of the edited one."""

    before: Images = field(default_factory=dict)
    after: Images = field(default_factory=dict)
    embedded: dict[tuple[bool, ImageSpec], Tensor] = field(default_factory=dict)
    """The judge's embeddings, by whether the model is the edited one: several groups ask about the same images."""

    def images(self, side: Side) -> Images:
        """Return the images of a side."""
        return self.after if side == "after" else self.before

    def embed(self, judge: Judge, side: Side, specs: Sequence[ImageSpec]) -> Tensor:
        """Return the judge's embeddings of images ``(n, d)``; each image is embedded once."""
        edited, images = side == "after", self.images(side)
        new = [spec for spec in dict.fromkeys(specs) if (edited, spec) not in self.embedded]
        if new:
            rows = judge.embed_images([images[spec] for spec in new])
            self.embedded.update(((edited, spec), row) for spec, row in zip(new, rows, strict=True))
        return torch.stack([self.embedded[edited, spec] for spec in specs])


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


def score_prompts(
    judge: Judge,
    group: PromptGroup,
    generated: GeneratedImages,
    side: Side,
    seeds: Sequence[int],
    recogniser: Recogniser | None = None,
) -> PromptScores:
    """Score one side of a group's images by the judge, or by the recogniser of its concept."""
    specs = group.reference_specs(group.phrases, seeds) if side == "reference" else group.specs(seeds)
    names, accepted = group.class_names(judge), [names for names in group.accepted_names for _ in seeds]
    embedded = generated.embed(judge, side, specs)
    recognised, similarities = judge.classify(group.kind, embedded, names)
    if recogniser:
        shown = recogniser.recognise([generated.images(side)[spec] for spec in specs])
    else:
        shown = [found in right for found, right in zip(recognised, accepted, strict=True)]
    own = [similarities[row, [names.index(name) for name in right]].max() for row, right in enumerate(accepted)]
    clip_scores = judge.clip_scores(embedded, [spec.prompt for spec in specs])
    columns = (torch.tensor(shown, dtype=torch.float32), torch.stack(own), clip_scores)
    return PromptScores(*(column.reshape(len(group.phrases), len(seeds)).mean(1).tolist() for column in columns))


def mean_scores(scores: Sequence[PromptScores]) -> PromptScores:
    """Return the mean of several scores of the same prompts."""

    def mean(lists: Sequence[list[float]]) -> list[float]:
        return [sum(values) / len(values) for values in zip(*lists, strict=True)]

    return PromptScores(
        mean([one.hits for one in scores]),
        mean([one.similarities for one in scores]),
        mean([one.clip_scores for one in scores]),
    )
