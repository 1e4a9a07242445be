from itertools import permutations

import torch
from torch import Tensor

from editor.checkpoints import OutputProjection, TextEncoder
from editor.methods.adjustments import (
    NO_ADJUSTMENTS,
    RemovalAdjustment,
    RetainedName,
    RetainedPrompt,
    SolveAdjustments,
    merge_adjustments,
)
from editor.methods.config import MethodConfig
from editor.methods.encoder_edit import edit_encoder
from editor.methods.name_coverage import remaining_shares
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval
from editor.prompts.concepts import Phrase, WeightedPhrase
from editor.prompts.name_expansion import ConceptName
from editor.sites.key_value_pairs import Site
from editor.sites.lazy_clip import LazyCLIPTextModel, all_positions

FOX = ResolvedRemoval(Concept("fox"), Destination("dog face", "replacement"))
INK = ResolvedRemoval(Concept("ink", "style"), Destination("twemoji", "generic"))
LEAKED = Phrase("{a} at night, {style}", "fox", "noto")


def delta_of(source: TextEncoder, builder: PromptBuilder, adjustments: SolveAdjustments = NO_ADJUSTMENTS) -> Tensor:
    method = MethodConfig(preservation=4.0, spread=False)
    (done,) = edit_encoder(source, builder, [FOX, INK], method, adjustments=adjustments)
    return done.update.up @ done.update.down


def change(source: TextEncoder, builder: PromptBuilder, delta: Tensor, text: str) -> float:
    model, ids = LazyCLIPTextModel(source), builder.token_ids([text])
    keys = model.attention(0).keys(model.hidden_states_before(ids, 0), all_positions(ids)).double()
    return float((keys @ delta.T).norm())


def remaining(source: TextEncoder, builder: PromptBuilder, delta: Tensor) -> float:
    model = LazyCLIPTextModel(source)
    return remaining_shares(
        Site(model, model, OutputProjection(0)), builder, delta, FOX, [ConceptName("fox", "concept")], "attention"
    )[0]


def test_a_weight_removes_a_concept_further(source: TextEncoder, builder: PromptBuilder) -> None:
    heavier = SolveAdjustments(removals=(RemovalAdjustment(concept="a fox", weight=8.0),), preservation_scale=1.0)
    assert remaining(source, builder, delta_of(source, builder, heavier)) < remaining(
        source, builder, delta_of(source, builder)
    )


def test_a_leaked_phrase_is_edited(source: TextEncoder, builder: PromptBuilder) -> None:
    added = SolveAdjustments(removals=(RemovalAdjustment(concept="fox", phrases=(WeightedPhrase(LEAKED, 0.5),)),))
    (adjusted,) = added.apply_to([FOX])
    pair = builder.edit_pairs(adjusted)[-1]
    assert (pair.concept.text, pair.destination.text) == ("a fox at night, noto", "a dog face at night, noto")
    assert pair.weight == 0.5
    assert not torch.equal(delta_of(source, builder, added), delta_of(source, builder))


def test_retained_names_and_prompts_change_less(source: TextEncoder, builder: PromptBuilder) -> None:
    text = "a wolf on a hill, ink drawing"
    kept = SolveAdjustments(
        retain_names=(RetainedName(name="wolf", weight=20.0),),
        retain_prompts=(RetainedPrompt(prompt=text, weight=50.0),),
    )
    plain, adjusted = delta_of(source, builder), delta_of(source, builder, kept)
    for prompt in ("a picture of a wolf", text):
        assert change(source, builder, adjusted, prompt) < change(source, builder, plain, prompt)


def test_preservation_is_scaled_and_layers_are_replaced(source: TextEncoder, builder: PromptBuilder) -> None:
    scaled = SolveAdjustments(preservation_scale=2.0, layers=(1,))
    (plain,) = edit_encoder(source, builder, [FOX], adjustments=SolveAdjustments(layers=(1,)))
    (done,) = edit_encoder(source, builder, [FOX], adjustments=scaled)
    assert done.record.layer == 1
    assert done.record.preservation == 2 * plain.record.preservation


def test_merged_adjustments_do_not_depend_on_order_and_survive_json() -> None:
    parts = [
        SolveAdjustments(removals=(RemovalAdjustment(concept="fox", weight=2.0),), preservation_scale=0.5),
        SolveAdjustments(removals=(RemovalAdjustment(concept="fox", phrases=(WeightedPhrase(LEAKED),)),)),
        SolveAdjustments(retain_names=(RetainedName(name="wolf"),), layers=(1,)),
    ]
    merged = {merge_adjustments(order) for order in permutations(parts)}
    assert len(merged) == 1
    (one,) = merged
    assert one.removals == (RemovalAdjustment(concept="fox", weight=2.0, phrases=(WeightedPhrase(LEAKED),)),)
    assert SolveAdjustments.model_validate_json(one.model_dump_json()) == one
    assert merge_adjustments([]) == NO_ADJUSTMENTS
