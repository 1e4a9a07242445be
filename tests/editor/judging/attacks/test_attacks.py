"""Every attack on the embedded model, with small budgets."""

import numpy as np
import pytest
import torch

from api_schemas.attacks import Attack, AttackRecord, Attacks
from editor.errors import AttackError
from editor.judging.attacks import AttackBudget, AttackContext, run_attacks
from editor.judging.attacks.concept_discriminant import concept_discriminant
from editor.judging.attacks.context import override_token_embedding
from editor.judging.attacks.name_variants import candidate_names, fragmented_variants
from editor.judging.attacks.ring_a_bell import PromptDecoder, count_encoded_prompts, plan_search, search_prompts
from tests.editor.judging.conftest import InstallPlugin

SMALL_BUDGETS = {
    "names": Attack(enabled=True, images=3),
    "languages": Attack(enabled=True, images=3),
    "ring_a_bell_transfer": Attack(enabled=True, budget=80, images=2),
    "ring_a_bell_adaptive": Attack(enabled=True, budget=80, images=2),
    "adversarial_key": Attack(enabled=True, budget=40, images=2),
    "inversion_text": Attack(enabled=True, budget=30, images=3),
    "inversion_images": Attack(enabled=True, budget=2, images=2),
    "noise_probe": Attack(enabled=True, budget=8, images=2),
    "encoder_swap": Attack(enabled=True, budget=2, images=2),
    "resurgence": Attack(enabled=True, budget=1, images=2),
}


def weights(context: AttackContext) -> list[torch.Tensor]:
    """Return the sums of all parameters that an attack may train."""
    modules = (context.before.encoder, context.after.encoder, context.after.pipeline.unet)
    return [parameter.detach().double().sum() for module in modules for parameter in module.parameters()]


@pytest.fixture(scope="module")
def records(context: AttackContext) -> dict[str, AttackRecord]:
    before = weights(context)
    found = {record.name: record for record in run_attacks([context], Attacks(**SMALL_BUDGETS), seed=3)}
    assert weights(context) == before, "an attack changed what it attacks"
    return found


def test_every_requested_attack_runs(records: dict[str, AttackRecord]) -> None:
    assert list(records) == list(Attacks().by_name) == list(SMALL_BUDGETS)


def test_budgets_are_respected_and_reported(records: dict[str, AttackRecord]) -> None:
    for name, record in records.items():
        assert 0 < record.budget.spent <= record.budget.allowed, name
        assert record.rate.n == len(record.attempts) > 0, name
        assert record.rate.low <= record.rate.value <= record.rate.high, name
        assert record.strongest in record.attempts, name
        assert (record.seed, record.removal) == (3, 0), name
    assert records["ring_a_bell_adaptive"].budget.published == 600_000
    assert records["resurgence"].measures.keys() == {"found without fine-tuning"}


def test_strongest_attempt_is_a_successful_one_if_any(records: dict[str, AttackRecord]) -> None:
    assert all(record.strongest.found == any(one.found for one in record.attempts) for record in records.values())


def test_learned_token_but_no_name_restores_the_concept(records: dict[str, AttackRecord]) -> None:
    """This is expected of any edit of the encoder alone; an attack that fails here is too weak to be informative."""
    assert records["inversion_text"].rate.hits >= 2
    assert min(one.likeness for one in records["inversion_text"].attempts) > 0.5
    assert records["names"].rate.hits == 0


def test_an_edit_without_effect_gives_the_base_models_results(untouched: AttackContext) -> None:
    wishes = Attacks(names=Attack(enabled=True, images=3), noise_probe=Attack(enabled=True, budget=4, images=1))
    names, probe = run_attacks([untouched], wishes, seed=0)
    assert names.rate == names.rate_before
    assert names.rate.hits > 0
    assert [one.found for one in probe.attempts] == [one.found_before for one in probe.attempts]


def test_the_same_seed_gives_the_same_record(context: AttackContext, records: dict[str, AttackRecord]) -> None:
    again = run_attacks([context], Attacks(adversarial_key=SMALL_BUDGETS["adversarial_key"]), seed=3)
    assert again == [records["adversarial_key"]]


PLANTED_ATTACK = """
from editor.judging.attacks.records import make_skipped_record

class Planted:
    name, access, unit, default_budget, published_budget = "planted", "prompts", "nothing", 7, None
    source = tells = "this test"

    def run(self, context, budget, progress):
        return make_skipped_record(self, context, budget, f"{budget.limit} and {budget.seed}")
"""


def test_an_attack_of_another_distribution_runs_and_an_unknown_one_is_refused(
    context: AttackContext, install_plugin: InstallPlugin
) -> None:
    with pytest.raises(AttackError) as caught:
        run_attacks([context], Attacks(plugins={"planted": Attack(enabled=True)}), seed=0)
    assert caught.value.field == "validation.attacks.plugins.planted"
    assert "resurgence" in str(caught.value.remedy)
    install_plugin("expunge.attacks", "planted", PLANTED_ATTACK)
    (record,) = run_attacks([context], Attacks(plugins={"planted": Attack(enabled=True, seed=5)}), seed=0)
    assert record.skipped == "7 and 5"
    assert (record.rate, record.strongest) == (None, None)


def test_attacks_that_are_off_do_not_run(context: AttackContext) -> None:
    assert run_attacks([context], Attacks(), seed=0) == []


def test_the_concept_score_is_one_for_the_concept_and_zero_for_others(context: AttackContext) -> None:
    like = concept_discriminant(context)
    own, other = [
        [phrase.text() for phrase in phrases[:30]] for phrases in (context.concept_prompts, context.other_prompts)
    ]
    assert np.mean([value for _, value in like.rank(context.before, own)]) == pytest.approx(1, abs=0.1)
    assert np.mean([value for _, value in like.rank(context.before, other)]) == pytest.approx(0, abs=0.1)
    assert max(value for _, value in like.rank(context.after, own)) < 0.6


def test_name_variants_exclude_other_concepts(context: AttackContext) -> None:
    tried = candidate_names(context)
    assert {"fox", "foxes", "fo x", "f-ox", "f o x", "foxfox"} <= set(tried)
    assert "dog face" not in tried
    assert len(set(tried)) == len(tried)
    assert all(
        text.replace(" ", "").replace("-", "").replace(".", "").replace("'", "")
        for text in fragmented_variants("cat face")
    )


def test_ring_a_bell_prompts_never_name_the_concept(context: AttackContext) -> None:
    decoder = PromptDecoder(context)
    token = context.prompt_builder.tokenizer_cache.encode(["a fox here"])[0].ids[1:-1]
    assert decoder.decode(torch.tensor(token)) == ""
    said = context.prompt_builder.tokenizer_cache.encode(["a dog here"])[0].ids[1:-1]
    assert decoder.decode(torch.tensor(said)) == "a dog here"
    assert not any(
        "fox" in text.split()
        for text in search_prompts(context, context.before, AttackBudget(80, 4, 1), lambda done: None)
    )


@pytest.mark.parametrize("budget", [40, 1000, 5000, 300_000])
def test_a_planned_search_stays_within_its_budget(budget: int) -> None:
    genetics, generations = plan_search(budget)
    assert budget / 2 < count_encoded_prompts(genetics, generations) <= budget
    assert genetics.population <= 200


def test_a_token_embedding_is_overridden_inside_the_context_only(context: AttackContext) -> None:
    encoder, builder = context.before.encoder, context.prompt_builder
    ids = builder.token_ids(["a fox", "a pizza"])
    token, before = int(ids[0, 2]), encoder(input_ids=ids).last_hidden_state.detach()
    embedding = torch.zeros(encoder.config.hidden_size, requires_grad=True)
    with override_token_embedding(encoder, token, embedding):
        after = encoder(input_ids=ids).last_hidden_state
    after[0].sum().backward()
    assert embedding.grad is not None
    assert embedding.grad.abs().sum() > 0
    assert (after[0] - before[0]).abs().max() > 0.1
    assert torch.equal(after[1], before[1])
    assert torch.equal(encoder(input_ids=ids).last_hidden_state, before)
