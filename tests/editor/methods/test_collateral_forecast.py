"""What is foreseen is held against what the edited encoder does."""

import pytest
import torch
from torch import Tensor
from transformers import CLIPTextModel

from editor.checkpoints import TextEncoder
from editor.methods.collateral_forecast import foresee, predicted_drop
from editor.methods.default import Edit, edit
from editor.prompts import Concept, Destination, PromptBook, Removal
from editor.sites.key_value_pairs import roles
from editor.solver.normal_equations import pose
from editor.solver.regression import Columns, Retained
from editor.solver.subspaces import beyond

FOX = Removal(Concept("fox"), Destination("dog face", "replacement"))


@pytest.fixture(scope="module")
def done(source: TextEncoder, book: PromptBook) -> Edit:
    (done,) = edit(source, book, [FOX])
    return done


def outputs(encoder: CLIPTextModel, ids: Tensor) -> Tensor:
    """(length, d): what the first layer's attention gives, less its bias."""
    seen: list[Tensor] = []
    projection = encoder.encoder.layers[0].self_attn.out_proj
    handle = projection.register_forward_hook(lambda *hooked: seen.append(hooked[2] - projection.bias))
    with torch.no_grad():
        encoder(ids[None])
    handle.remove()
    return seen[0][0]


def weighed(rows: Tensor, prompt_roles: list[tuple[list[int], float]]) -> float:
    return sum(weight * float(rows[places].square().sum(1).mean()) for places, weight in prompt_roles) ** 0.5


def test_the_change_is_that_of_the_edited_encoder(
    done: Edit, source: TextEncoder, encoder: CLIPTextModel, book: PromptBook
) -> None:
    text = "a picture of a tiger face, noto style"
    (foreseen,) = foresee(source, book, {0: done.update.up @ done.update.down}, [text])
    prompt = book.tokenise(text)
    weight = encoder.encoder.layers[0].self_attn.out_proj.weight
    before = outputs(encoder, prompt.ids)
    with torch.no_grad():
        weight.copy_(done.update.edited)
    after = outputs(encoder, prompt.ids)
    with torch.no_grad():
        weight.copy_(done.update.base)
    expected = weighed(after - before, list(roles(prompt))) / weighed(before, list(roles(prompt)))
    assert foreseen.change == pytest.approx(expected, rel=1e-4)


def test_worst_come_first_and_the_concept_before_all(done: Edit, source: TextEncoder, book: PromptBook) -> None:
    texts = ["a pizza", "a fox", "a rocket in the style of ink"]
    foreseen = foresee(source, book, {0: done.update.up @ done.update.down}, texts)
    assert foreseen[0].prompt == "a fox" == max(foreseen, key=lambda one: one.change).prompt
    drops = [one.drop or 0.0 for one in foreseen]
    assert drops == sorted(drops, reverse=True)


def test_the_movement_is_that_of_the_edited_encoder(
    done: Edit, source: TextEncoder, encoder: CLIPTextModel, book: PromptBook
) -> None:
    text = "a picture of a tiger face, noto style"
    prompt, weight = book.tokenise(text), encoder.encoder.layers[0].self_attn.out_proj.weight
    with torch.no_grad():
        before = encoder(prompt.ids[None]).last_hidden_state[0, prompt.eos :]
        weight.copy_(done.update.edited)
        after = encoder(prompt.ids[None]).last_hidden_state[0, prompt.eos :]
        weight.copy_(done.update.base)
    (foreseen,) = foresee(source, book, {0: done.update.up @ done.update.down}, [text])
    assert foreseen.moved == pytest.approx(float((after - before).norm() / before.norm()), rel=1e-3)


def test_the_record_names_the_prompts_that_change_most(done: Edit) -> None:
    changes = [one.change for one in done.record.foreseen]
    assert changes == sorted(changes, reverse=True)
    assert done.record.predicted_retain_p95 <= changes[0]
    assert not any("fox" in one.prompt for one in done.record.foreseen)


def test_a_single_key_leaves_what_its_novelty_says() -> None:
    """One key of weight 1 against a preserved moment: the residual left is 1 / (1 + q) of it."""
    generator = torch.Generator().manual_seed(3)
    key, residual = torch.randn(2, 1, 40, dtype=torch.float64, generator=generator)
    ones, kept = torch.ones(1, dtype=torch.float64), torch.randn(60, 40, dtype=torch.float64, generator=generator)
    problem = pose(
        Columns(key, torch.tensor([0]), residual, ones, torch.tensor([0])),
        Retained(kept, torch.arange(60), torch.ones(60, dtype=torch.float64), torch.arange(60)),
        beyond(torch.randn(2, 40, dtype=torch.float64, generator=generator)),
    )
    inside = problem.directions.places(key)
    novelty = float(inside @ torch.linalg.solve(problem.system(50.0) - problem.removal.moment, inside.T))
    up, down = problem.lifted(torch.ones(1, 1, dtype=torch.float64), problem.core(50.0))
    left = float((residual - key @ (up @ down).T).norm() / residual.norm())
    assert left == pytest.approx(1 / (1 + novelty), rel=1e-9)


def test_feasibility_tells_the_easy_concept_from_the_one_in_the_bulk(source: TextEncoder, book: PromptBook) -> None:
    """A concept that is also to be preserved can't go far."""
    torn = Removal(
        Concept("vixen"), Destination("dog face", "replacement"), preserve=("red vixen", "vixen cub", "the vixen")
    )
    (done,) = edit(source, book, [torn, FOX])
    by_name = {one.concept: one for one in done.record.feasibility}
    assert set(by_name) == {"fox", "vixen"}
    assert by_name["vixen"].left > by_name["fox"].left
    assert all(0 <= one.leak <= 1 for one in by_name.values())


def test_the_forecast_rises_with_the_change() -> None:
    drops = [predicted_drop(change / 10) for change in range(11)]
    assert drops == sorted(drops)
    assert drops[0] < 0.01
    assert drops[-1] > 0.95
