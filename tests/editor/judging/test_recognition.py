"""Names that the judge does not recognise in images of the base model are left out, and gates say why they are open."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from api_schemas.edits import Validation
from editor.generation.config import ImageSpec
from editor.judging.evaluation import plan_evaluations, run_evaluations
from editor.judging.gates import policy_from_request, recompute_outcomes
from editor.judging.neighbours import find_neighbours
from editor.judging.planned_images import image_specs
from editor.judging.prompt_groups import PromptGroup, request_groups
from editor.judging.prompt_scores import GeneratedImages
from editor.judging.recognition import Recognition, plan_recognised_groups
from editor.judging.verdict import make_checks
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval
from editor.prompts.concepts import Phrase
from editor.prompts.profile import Judging

FOX = ResolvedRemoval(Concept("fox"), Destination("dog face", "replacement"))
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass
class Drawing:
    """A base model that draws the names in its prompts, and a judge that does not see some."""

    builder: PromptBuilder
    unseen: set[str]
    minimum: float = 0.5
    generated: list[ImageSpec] = field(default_factory=list)

    @property
    def profile(self) -> Any:
        judging = Judging(minimum_recognition=self.minimum, recognition_images=3)
        return self.builder.profile.model_copy(update={"judging": judging})

    def generate(self, specs: Sequence[ImageSpec]) -> list[np.ndarray]:
        self.generated += specs
        return [self.draw(spec.prompt) for spec in specs]

    def draw(self, prompt: str) -> np.ndarray:
        names = [*self.profile.object_names, *self.profile.styles]
        shown = [i for i, name in enumerate(names) if name in prompt and name not in self.unseen]
        image = np.zeros((1, len(names), 3), dtype=np.uint8)
        image[0, shown] = 1
        return image

    def embed_class(self, kind: str, name: str) -> Tensor:
        return torch.tensor([[float(letter in name) for letter in LETTERS]])

    def embed_classes(self, kind: str, names: Sequence[str]) -> dict[str, Tensor]:
        return {name: self.embed_class(kind, name) for name in names}

    def class_names(self, kind: str, extra: Sequence[str] = ()) -> list[str]:
        return list(dict.fromkeys([*self.profile.names_of(kind), *extra]))

    def embed_images(self, images: Sequence[np.ndarray]) -> Tensor:
        return torch.tensor(np.stack([image[0, :, 0] for image in images]))

    def classify(self, kind: str, embedded: Tensor, names: Sequence[str]) -> tuple[list[str], Tensor]:
        known = [*self.profile.object_names, *self.profile.styles]
        scores = torch.stack([embedded[:, known.index(name)] * len(name) for name in names], 1).float()
        return [names[int(row.argmax())] if row.any() else "nothing" for row in scores], scores


def plan(world: Drawing) -> tuple[list[PromptGroup], Recognition]:
    groups = partial(request_groups, world.builder, world, [FOX], 60, [FOX], 48)
    return plan_recognised_groups(groups, world, world.builder, [FOX], world.generate)  # type: ignore[arg-type]


def test_names_that_the_judge_does_not_recognise_are_left_out_and_listed(builder: PromptBuilder) -> None:
    nearest = find_neighbours(Drawing(builder, set()), builder, FOX, [FOX]).names  # type: ignore[arg-type]
    unseen = {nearest[0], nearest[3], builder.profile.styles[1]}
    groups, recognition = plan(Drawing(builder, unseen))
    by_name = {(group.name, group.kind): group for group in groups}
    neighbours = set(by_name["neighbours", "object"].expected_names)
    assert {name for _, name in recognition.unrecognised} == unseen
    assert unseen.isdisjoint(neighbours)
    assert len(neighbours) == 8, "the next nearest take their place"
    for kind in ("object", "style"):
        assert unseen.isdisjoint(by_name["retain", kind].expected_names)
    record = recognition.record(0.95)
    assert record is not None
    assert [(one.name, one.recognised.value, one.recognised.n) for one in record.left_out] == [
        (name, 0.0, 3) for _, name in sorted(recognition.unrecognised)
    ]
    assert record.left_out[0].recognised.high > 0.4
    assert record.names > len(record.left_out)


def test_images_that_measure_the_judge_are_not_evaluated(builder: PromptBuilder) -> None:
    world = Drawing(builder, set())
    groups, _ = plan(world)
    evaluated = set(image_specs(groups, range(100)))
    assert world.generated
    assert evaluated.isdisjoint(world.generated)
    again = Drawing(builder, set())
    plan(again)
    assert again.generated == world.generated


def test_without_a_minimum_nothing_is_measured(builder: PromptBuilder) -> None:
    world = Drawing(builder, {"rabbit"}, minimum=0.0)
    groups, recognition = plan(world)
    assert not world.generated
    assert recognition.record(0.95) is None
    assert groups == request_groups(builder, world, [FOX], 60, [FOX], 48)  # type: ignore[arg-type]


@dataclass
class Shown:
    """Images that show the concept in a share of the prompts."""

    before: float
    after: float = 0.0
    count: int = 0

    def generate(self, specs: Sequence[ImageSpec], generated: GeneratedImages, progress: Any) -> None:
        for spec in specs:
            self.count += 1
            for share, images in ((self.before, generated.before), (self.after, generated.after)):
                images[spec] = np.full((1, 1, 3), int(self.count % 20 < 20 * share), dtype=np.uint8)


class Seer:
    """Sees the first name in images of shade 1."""

    def embed_images(self, images: Sequence[np.ndarray]) -> Tensor:
        return torch.tensor([int(image[0, 0, 0]) for image in images])

    def clip_scores(self, embedded: Tensor, prompts: Sequence[str]) -> Tensor:
        return torch.zeros(len(embedded))

    def class_names(self, kind: str, extra: Sequence[str] = ()) -> list[str]:
        return ["fox", "nothing"]

    def classify(self, kind: str, embedded: Tensor, names: Sequence[str]) -> tuple[list[str], Tensor]:
        return ["fox" if one else "nothing" for one in embedded], torch.zeros(len(embedded), len(names))


@pytest.mark.parametrize(
    ("share", "minimum", "images", "reason"),
    [
        (0.1, 0.5, 16, "recognised in only 6%"),
        (0.1, 0.0, 192, ""),
        (1.0, 0.5, None, ""),
    ],
)
def test_a_concept_that_is_not_recognised_before_the_edit_leaves_its_gate_open_and_says_why(
    share: float, minimum: float, images: int | None, reason: str
) -> None:
    phrases = tuple(Phrase("{bare}", "fox", "", f" {i}") for i in range(192))
    policy, shown = policy_from_request(Validation()), Shown(share)
    target = PromptGroup("target", 0, "object", phrases, "fox")
    evaluations = plan_evaluations([target], policy.gates, 0, minimum_recognition=minimum)
    run_evaluations(evaluations, Seer(), shown, [0], 0.05, True, lambda done: None)  # type: ignore[arg-type]
    (check,) = make_checks(evaluations, policy.confidence, 1)
    assert reason in check.reason
    assert images in (None, shown.count)
    assert bool(check.reason) == (check.outcome == "inconclusive")
    assert [check.outcome] == recompute_outcomes([check], policy.confidence)


def test_a_gate_without_prompts_is_inconclusive() -> None:
    """If no neighbour is recognised, nothing shows that neighbours were preserved."""
    policy = policy_from_request(Validation())
    evaluations = plan_evaluations([PromptGroup("neighbours", 0, "object", ())], policy.gates, 0)
    generated = run_evaluations(evaluations, Seer(), Shown(1.0), [0], 0.05, True, lambda done: None)  # type: ignore[arg-type]
    (check,) = make_checks(evaluations, policy.confidence, 1)
    assert not generated.after
    assert (check.outcome, check.measured.n, check.measured.high) == ("inconclusive", 0, 1.0)
    assert "no prompts" in check.reason
    assert [check.outcome] == recompute_outcomes([check], policy.confidence)
