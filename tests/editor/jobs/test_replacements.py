"""Automatic replacements: which names are compared, which one is used, and that the order of a ledger does not matter."""

from itertools import permutations
from pathlib import Path

import pytest
import torch

from api_schemas.edits import EditOptions, EditRequest, Removal
from editor.checkpoints import Checkpoint, open_checkpoint
from editor.emoji import DIT_WEIGHTS
from editor.emoji.profile import PROFILE
from editor.jobs.replacements import SEARCHED_CANDIDATES, rank_replacements
from editor.judging.told_apart import told_apart
from editor.ledger import LedgerFolder, entries_from_request
from editor.prompts import (
    Concept,
    Destination,
    PromptBuilder,
    ResolvedRemoval,
    choose_destination,
    open_prompt_builders,
)
from editor.prompts.automatic_replacement import choose_destinations, sibling_names
from editor.prompts.resolve_request import resolve_request

OPTIONS = EditOptions(sites=[0])


@pytest.fixture(scope="module")
def checkpoint(model_dir: Path) -> Checkpoint:
    return open_checkpoint(model_dir)


def request(*removals: Removal) -> EditRequest:
    return EditRequest(removals=list(removals))


def ranked_names(found: EditRequest, checkpoint: Checkpoint, builder: PromptBuilder) -> list[tuple[str, ...]]:
    return rank_replacements(found, checkpoint, [builder], None).names


def removal(concept: str, *candidates: str, kind: str = "object") -> ResolvedRemoval:
    return ResolvedRemoval(Concept(concept, kind), Destination("", "null"), candidates=candidates)  # type: ignore[arg-type]


def test_candidates_are_the_other_names_of_the_group_by_cost_and_change(
    checkpoint: Checkpoint, builder: PromptBuilder
) -> None:
    found = rank_replacements(request(Removal(concept="Robot")), checkpoint, [builder], None)
    assert found == rank_replacements(request(Removal(concept="Robot")), checkpoint, [builder], None)
    (candidates,) = found.candidates
    assert {one.name for one in candidates} == {*PROFILE.objects["faces"]} - {"robot"}
    searched, others = candidates[:SEARCHED_CANDIDATES], candidates[SEARCHED_CANDIDATES:]
    costs = [one.cost for one in searched if one.cost is not None]
    assert len(costs) == SEARCHED_CANDIDATES
    assert costs == sorted(costs)
    assert others
    assert all(one.cost is None for one in others)
    assert 0 < max(one.change for one in searched) <= min(one.change for one in others)


def test_the_forecast_alone_ranks_the_candidates_of_many_removals(
    checkpoint: Checkpoint, builder: PromptBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("editor.jobs.replacements.MAX_SEARCHED_REMOVALS", 1)
    asked = request(Removal(concept="robot"), Removal(concept="fox"), Removal(concept="owl", replacement="bear"))
    *ranked, given = rank_replacements(asked, checkpoint, [builder], None).candidates
    assert given == []
    for candidates in ranked:
        assert all(one.cost is None for one in candidates)
        assert [one.change for one in candidates] == sorted(one.change for one in candidates)


def test_a_destination_that_is_reached_is_preferred_to_one_that_changes_less() -> None:
    """A clown face changes other prompts least, but a robot's prompts stay farther from it than from a skull."""
    checkpoint = open_checkpoint(DIT_WEIGHTS)
    (candidates,) = rank_replacements(
        request(Removal(concept="robot")), checkpoint, open_prompt_builders(checkpoint), None
    ).candidates
    assert min(candidates, key=lambda one: one.change).name == "clown face"
    assert candidates[0].name == "skull"


@pytest.mark.parametrize(
    "named",
    [
        Removal(concept="fox", replacement="dog face"),
        Removal(concept="fox", replacement=None),
        Removal(concept="fox", generic="animal"),
        Removal(concept="ink", kind="style"),
        Removal(concept="Ada Okafor", kind="person"),
    ],
)
def test_nothing_is_chosen_for_other_removals(named: Removal, checkpoint: Checkpoint, builder: PromptBuilder) -> None:
    assert ranked_names(request(named), checkpoint, builder) == []
    (resolved,) = resolve_request(request(named), builder)
    concept = Concept(named.concept, named.kind)
    assert resolved.destination == choose_destination(concept, named.named_replacement, named.generic, PROFILE)


def test_no_person_or_brand_replaces_anything(builder: PromptBuilder) -> None:
    profile = PROFILE.model_copy(update={"objects": {"people": ("painter", "Vincent van Gogh", "sculptor")}})
    own = PromptBuilder(builder.tokenizer, profile)
    assert sibling_names(removal("painter"), own) == ["sculptor"]


def test_first_candidate_that_nobody_removes_is_used() -> None:
    fox, other = removal("fox", "bear", "panda", "lion"), removal("Bear")
    (alone,) = choose_destinations([fox], PROFILE)
    together, _ = choose_destinations([fox, other], PROFILE)
    (joined,) = choose_destinations([fox], PROFILE, others=[other, removal("panda")])
    (nothing,) = choose_destinations([fox], PROFILE, others=[other, removal("panda"), removal("lion")])
    found = [one.destination for one in (alone, together, joined, nothing)]
    assert found == [Destination(*one) for one in (("bear", "auto"), ("panda", "auto"), ("lion", "auto"), ("", "null"))]  # type: ignore[arg-type]


def test_names_that_the_judge_confuses_are_not_told_apart() -> None:
    assert told_apart({"vixen": 0.96, "wolf": 0.85, "bear": 0.8, "dog": 0.82}) == {"wolf", "bear", "dog"}


def test_weights_do_not_depend_on_the_order_in_which_removals_join(
    checkpoint: Checkpoint, builder: PromptBuilder, tmp_path: Path
) -> None:
    """Each concept is the others' best candidate, so each choice depends on all removals."""
    ranked = {"fox": ("bear", "lion", "owl"), "bear": ("fox", "lion", "owl"), "lion": ("fox", "bear", "owl")}
    entries = {
        name: entries_from_request(request(Removal(concept=name)), OPTIONS, candidates=[names])
        for name, names in ranked.items()
    }
    found = []
    for number, order in enumerate(permutations(ranked)):
        folder = LedgerFolder(tmp_path / str(number))
        ledger = folder.read_for(checkpoint)
        for name in order:
            ledger = ledger.add(entries[name])
            (edit,) = folder.solve(ledger, checkpoint)
        found.append((ledger.digest, edit.update.edited))
    assert {digest for digest, _ in found} == {found[0][0]}
    assert all(torch.equal(weights, found[0][1]) for _, weights in found)


def test_ledger_keeps_the_candidates_of_a_removal_that_is_added_again(checkpoint: Checkpoint, tmp_path: Path) -> None:
    ledger = LedgerFolder(tmp_path).read_for(checkpoint)
    asked = request(Removal(concept="fox"))
    once = ledger.add(entries_from_request(asked, OPTIONS, candidates=[("bear",)]))
    again = once.add(entries_from_request(asked, OPTIONS, candidates=[("lion",)]))
    assert [entry.parameters.candidates for entry in again.active] == [("lion",)]
    assert len({ledger.digest, once.digest, again.digest}) == 3
