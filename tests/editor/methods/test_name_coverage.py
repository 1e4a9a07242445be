"""Names are listed as covered only if the edit moves them about as far as the concept."""

import pytest
import torch

from editor import emoji
from editor.checkpoints import OutputProjection, TextEncoder
from editor.jobs.model import open_model
from editor.methods import name_coverage
from editor.methods.encoder_edit import edit_encoder
from editor.methods.name_coverage import COVERAGE_PROMPTS, COVERAGE_TOLERANCE, covered_names, remaining_shares
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval
from editor.prompts.name_expansion import ConceptName
from editor.sites.key_value_pairs import Site
from editor.sites.lazy_clip import LazyCLIPTextModel

FOX = ResolvedRemoval(Concept("fox"), Destination("dog face", "replacement"), spellings="auto")


@pytest.fixture(scope="module")
def delta(source: TextEncoder, builder: PromptBuilder) -> torch.Tensor:
    (edit,) = edit_encoder(source, builder, [FOX])
    return edit.update.up @ edit.update.down


def share(source: TextEncoder, builder: PromptBuilder, delta: torch.Tensor, name: ConceptName) -> float:
    model = LazyCLIPTextModel(source)
    return remaining_shares(Site(model, model, OutputProjection(0)), builder, delta, FOX, [name], "attention")[0]


def test_name_that_the_edit_did_not_see_is_uncovered(
    source: TextEncoder, builder: PromptBuilder, delta: torch.Tensor
) -> None:
    stranger = ResolvedRemoval(FOX.concept, FOX.destination, aliases=("violin",))
    covered = [
        name.text for name in covered_names(source, builder, {OutputProjection(0): delta}, stranger, "attention")
    ]
    assert covered == ["fox"]
    assert share(source, builder, delta, ConceptName("violin", "alias")) == pytest.approx(1, abs=0.2)


def test_covered_names_are_those_within_the_tolerance(
    source: TextEncoder, builder: PromptBuilder, delta: torch.Tensor
) -> None:
    names = builder.expand(FOX).names
    limit = share(source, builder, delta, names[0]) + COVERAGE_TOLERANCE
    within = [name for name in names if share(source, builder, delta, name) <= limit]
    assert covered_names(source, builder, {OutputProjection(0): delta}, FOX, "attention") == within


def test_names_are_measured_together_as_each_alone(
    source: TextEncoder, builder: PromptBuilder, delta: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of a thousand removals has ten thousand names."""
    names, model = builder.expand(FOX).names, LazyCLIPTextModel(source)
    alone = [share(source, builder, delta, name) for name in names]
    measured, real = list[int](), name_coverage.regression_rows
    monkeypatch.setattr(
        name_coverage, "regression_rows", lambda site, pairs, aim: measured.append(len(pairs)) or real(site, pairs, aim)
    )
    together = remaining_shares(Site(model, model, OutputProjection(0)), builder, delta, FOX, names, "attention")
    assert together == pytest.approx(alone)
    assert len(measured) == 1
    assert measured[0] <= COVERAGE_PROMPTS * len(names)


@pytest.mark.parametrize("concept", ["fox", "violin", "key"])
def test_plural_of_the_embedded_model_goes_as_far_as_the_concept(concept: str) -> None:
    model = open_model(emoji.WEIGHTS)
    removal = ResolvedRemoval(Concept(concept), Destination("", "null"), spellings="auto")
    (edit,) = edit_encoder(model.checkpoint.encoders[0], model.prompts, [removal])
    deltas = {OutputProjection(0): edit.update.up @ edit.update.down}
    covered = covered_names(model.checkpoint.encoders[0], model.prompts, deltas, removal, "attention")
    assert {"concept", "plural"} <= {name.source for name in covered}


def test_without_an_edit_everything_remains(source: TextEncoder, builder: PromptBuilder, delta: torch.Tensor) -> None:
    assert share(source, builder, torch.zeros_like(delta), ConceptName("fox", "concept")) == 1
