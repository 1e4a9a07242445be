"""States that are continued from earlier ones equal those that are computed from the embeddings, bit by bit."""

import pytest
import torch
from torch import Tensor

from editor.checkpoints import OutputProjection, TextEncoder
from editor.prompts import PromptBuilder
from editor.sites import states_cache
from editor.sites.final_states import EncoderUpdates, SampledPrompts, states_after
from editor.sites.states_cache import StatesCache

TEXTS = ["", "a fox", "an image of a lady beetle, noto style on a blue background"]
OF_ATTENTION, OF_MLP = OutputProjection(0), OutputProjection(0, of_mlp=True)


@pytest.fixture
def prompts(builder: PromptBuilder) -> SampledPrompts:
    return SampledPrompts.of(builder.tokenize_all(TEXTS), 4)


def random_update(source: TextEncoder, projection: OutputProjection, seed: int) -> Tensor:
    shape = source.shape(projection.weight_name)
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_equals_fresh_states(
    cache: StatesCache, source: TextEncoder, prompts: SampledPrompts, layers: int, updates: EncoderUpdates
) -> None:
    found = cache.states_after(source, prompts, layers, updates)
    for one, other in zip(found, states_after(source, prompts, layers, updates), strict=True):
        assert torch.equal(one, other)


def test_states_equal_fresh_ones_whatever_was_asked_before(source: TextEncoder, prompts: SampledPrompts) -> None:
    cache, first = StatesCache(), {OF_ATTENTION: random_update(source, OF_ATTENTION, 0)}
    both = first | {OF_MLP: random_update(source, OF_MLP, 1)}
    other = {OF_ATTENTION: random_update(source, OF_ATTENTION, 2)}
    for layers, updates in (
        (1, {}),
        (2, {}),
        (1, first),
        (2, first),
        (2, both),
        (3, both),
        (1, both),
        (2, other),
        (3, {}),
    ):
        assert_equals_fresh_states(cache, source, prompts, layers, updates)


def test_states_at_other_positions_are_not_mixed(
    source: TextEncoder, builder: PromptBuilder, prompts: SampledPrompts
) -> None:
    cache, fewer = StatesCache(), SampledPrompts.of(builder.tokenize_all(TEXTS), 2)
    for one in (prompts, fewer, prompts):
        assert_equals_fresh_states(cache, source, one, 2, {})


def test_layers_that_were_passed_before_are_not_passed_again(
    source: TextEncoder, prompts: SampledPrompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, continued = StatesCache(), list[int | None]()

    def record(*inputs: object) -> tuple[Tensor, Tensor]:
        earlier = inputs[-1]
        continued.append(earlier[0] if isinstance(earlier, tuple) else None)
        return states_after(*inputs)  # type: ignore[arg-type]

    monkeypatch.setattr(states_cache, "states_after", record)
    later = {OutputProjection(1): random_update(source, OutputProjection(1), 3)}
    for layers, updates in ((1, {}), (2, {}), (2, {}), (1, {}), (2, later), (3, later)):
        cache.states_after(source, prompts, layers, updates)
    assert continued == [None, 1, 2, None, None, 2]


def test_states_beyond_the_limit_are_not_kept(
    source: TextEncoder, prompts: SampledPrompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states_cache, "MAX_CACHED_BYTES", 0)
    cache = StatesCache()
    assert_equals_fresh_states(cache, source, prompts, 2, {})
    assert not cache.found
