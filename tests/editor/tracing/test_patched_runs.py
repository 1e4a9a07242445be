"""Restored runs against the plain tracer, and where the answer is known."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from editor.bench.baseline_tracer import clean_run, restored_run
from editor.generation.clip_runner import CLIPTextRunner
from editor.generation.config import EncoderStates
from editor.generation.memory_budget import MemoryBudget
from editor.prompts import PromptBuilder
from editor.tracing.corruption import NOISE, Sample, deviation, noisy, samples_of
from editor.tracing.encoder_trace import Slab, TextModel, trace_text
from editor.tracing.patched_runs import text_grid
from editor.tracing.readouts import Distance
from editor.tracing.result import Question, Trace, as_tuples
from editor.tracing.score_store import OFFSET
from editor.tracing.sites import TextSite, text_sites
from editor.tracing.traced_prompts import Traced, every_token, roles, trace_prompts, traced


@pytest.fixture(scope="module")
def fox(book: PromptBuilder) -> Traced:
    return trace_prompts(book, "object", "fox", 3)


def model_of(tower: CLIPTextRunner, prompts: Traced, places=None) -> TextModel:
    sigma = NOISE * deviation(tower, prompts.ids, prompts.spans)
    return TextModel((tower,), (prompts,), places or roles(prompts), lambda t, p, s: noisy(t, p, s, sigma, 7))


def question(prompts: Traced, model: TextModel, samples: list[Sample], sites: list[TextSite]) -> Question:
    return Question(
        model="tiny", concept=prompts.name, attribute="object", read_out="distance", corruption="noise", seed=7,
        prompts=prompts.texts, places=tuple(p.label for p in model.places), samples=as_tuples(samples), sites=tuple(sites),
    )  # fmt: skip


@dataclass(frozen=True)
class Pooled(Distance):
    """Reads EOS alone, so padding needs no run."""

    ends: Tensor = field(default_factory=lambda: torch.empty(0))
    whole: bool = False

    def scores(self, states: EncoderStates, samples: Sequence[Sample]) -> Tensor:
        prompts = torch.tensor([sample.prompt for sample in samples])
        ends = self.ends[prompts]
        eos, clean = states[0][torch.arange(len(ends)), ends], self.clean[0][prompts, ends]
        return -(eos - clean).norm(dim=1).double()


def distance(model: TextModel, whole: bool = True) -> Distance:
    return Distance(model.clean()) if whole else Pooled(model.clean(), ends=model.prompts[0].ends)


def test_the_clean_run_is_the_encoders(encoder: CLIPTextModel, fox: Traced) -> None:
    ours = model_of(CLIPTextRunner(encoder), fox).clean()[0]
    with torch.no_grad():
        torch.testing.assert_close(ours, encoder(fox.ids).last_hidden_state, atol=1e-5, rtol=1e-5)


def test_sdxl_reads_the_states_before_the_last_layer(encoder: CLIPTextModel, fox: Traced) -> None:
    with torch.no_grad():
        wanted = encoder(fox.ids, output_hidden_states=True).hidden_states[-2]
    ours = model_of(CLIPTextRunner(encoder, "penultimate"), fox).clean()[0]
    torch.testing.assert_close(ours, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("window", [1, 2, 3])
def test_every_site_as_the_plain_tracer_has_it(encoder: CLIPTextModel, fox: Traced, window: int) -> None:
    """Prompts of unequal length, several draws, tokens by role; one run of the unmodified encoder for each."""
    tower, samples = CLIPTextRunner(encoder), samples_of(3, 2)
    model, sites = model_of(tower, fox), text_sites(3, range(6), window=window)
    slab = Slab(model.grids(samples, 24), samples, 0, sites, model.places)
    cells = slab.cells()
    states, corrupted = slab.states(cells)[0], model.corrupt(tower, fox, samples)
    assert len(cells) > 150 / window
    for mine, (row, column) in zip(states, cells, strict=True):
        site, prompt = sites[column - OFFSET], samples[row].prompt
        ids = fox.ids[prompt : prompt + 1]
        _, clean = clean_run(encoder, ids)
        mask = model.places[site.place].mask[prompt]
        plain = restored_run(encoder, ids, corrupted[row : row + 1], clean, site, mask)
        torch.testing.assert_close(mine, plain[0], atol=1e-4, rtol=1e-4)


def test_restoring_everything_is_the_clean_run_and_nothing_the_corrupted(
    encoder: CLIPTextModel, book: PromptBuilder
) -> None:
    prompts = trace_prompts(book, "object", "fox", 1)
    context, samples = book.context_length, samples_of(1, 4)
    everything = [Tensor.new_ones(prompts.ids, (1, context)).bool(), Tensor.new_zeros(prompts.ids, (1, context)).bool()]
    tower = CLIPTextRunner(encoder)
    grid = text_grid(
        tower, prompts.ids, prompts.spans, model_of(tower, prompts).corrupt(tower, prompts, samples),
        torch.zeros(4, dtype=torch.long), [type("P", (), {"mask": m})() for m in everything],
    )  # fmt: skip
    for layer in range(3):
        site = TextSite(kind="residual", layer=layer, place=0, window=3 - layer)
        restored = grid.restored([(i, site) for i in range(4)])
        assert torch.equal(restored, grid.clean.states.expand(4, -1, -1)), "exactly"
        nothing = TextSite(kind="residual", layer=layer, place=1)
        unmoved = grid.restored([(i, nothing) for i in range(4)])
        torch.testing.assert_close(unmoved, grid.corrupted.states, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(grid.corrupted.states[0], grid.corrupted.states[1], atol=1e-2), "draws differ"


def test_noise_touches_every_token_of_the_subject_and_no_other(encoder: CLIPTextModel, fox: Traced) -> None:
    tower, samples = CLIPTextRunner(encoder), samples_of(3, 2)
    changed = (model_of(tower, fox).corrupt(tower, fox, samples) != tower.embed(fox.ids)[[0, 0, 1, 1, 2, 2]]).any(-1)
    assert torch.equal(changed, fox.spans[[0, 0, 1, 1, 2, 2]])
    assert set(fox.spans.sum(1).tolist()) == {2}, "fox is two tokens"
    assert torch.equal(fox.last, fox.spans.int().cumsum(1).argmax(1))


def scores(encoder: CLIPTextModel, prompts: Traced, budget: MemoryBudget, whole: bool = True) -> Trace:
    model, samples, sites = model_of(CLIPTextRunner(encoder), prompts), samples_of(3, 2), text_sites(3, range(6))
    return trace_text(model, samples, question(prompts, model, samples, sites), distance(model, whole), budget)


def test_batches_and_slabs_change_nothing(encoder: CLIPTextModel, fox: Traced) -> None:
    one_by_one = scores(encoder, fox, MemoryBudget(activation_bytes=1))
    together = scores(encoder, fox, MemoryBudget())
    torch.testing.assert_close(one_by_one.scores, together.scores, atol=1e-5, rtol=1e-5, equal_nan=True)


def test_bfloat16_is_near_enough(encoder: CLIPTextModel, fox: Traced) -> None:
    model = model_of(CLIPTextRunner(encoder, precision="bfloat16"), fox)
    samples, sites = samples_of(3, 2), text_sites(3, range(6))
    fast = trace_text(model, samples, question(fox, model, samples, sites), distance(model), MemoryBudget())
    plain = scores(encoder, fox, MemoryBudget())
    assert max(abs(fast.effects[site].value - effect.value) for site, effect in plain.effects.items()) < 0.01


def test_permuting_rows_changes_nothing(encoder: CLIPTextModel, fox: Traced) -> None:
    model, samples = model_of(CLIPTextRunner(encoder), fox), samples_of(3, 2)
    sites = text_sites(3, range(6))
    slab = Slab(model.grids(samples, 24), samples, 0, sites, model.places)
    cells, order = slab.cells(), torch.randperm(len(slab.cells()), generator=torch.Generator().manual_seed(0))
    shuffled = slab.states([cells[i] for i in order])[0]
    torch.testing.assert_close(shuffled, slab.states(cells)[0][order], atol=1e-6, rtol=1e-6)


def test_padding_is_left_out_where_nothing_reads_it(encoder: CLIPTextModel, fox: Traced) -> None:
    """Restoring padding has no effect on EOS: it is not even computed."""
    full = scores(encoder, fox, MemoryBudget(), whole=False)
    assert {full.effects[site].value for site in full.effects if site.place == 5} == {0.0}
    model, samples, sites = model_of(CLIPTextRunner(encoder), fox), samples_of(3, 2), text_sites(3, range(6))
    slab = Slab(model.grids(samples, 24), samples, 0, sites, model.places)
    read_out = distance(model, whole=False)
    cells = slab.cells()
    by_hand = read_out.scores(slab.states(cells), [slab.sample(cell) for cell in cells])
    for cell, score in zip(cells, by_hand, strict=True):
        if sites[cell[1] - OFFSET].place != 5:
            assert float(full.scores[cell]) == pytest.approx(float(score), abs=1e-5)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_planted_knowledge_is_found(encoder: CLIPTextModel, fox: Traced, layer: int) -> None:
    """All blocks but one layer's attention write nothing, so whatever leaves the subject's tokens leaves there."""
    planted = CLIPTextModel(encoder.config).eval()
    planted.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        for i, block in enumerate(planted.encoder.layers):
            silent = [block.mlp.fc2] if i == layer else [block.mlp.fc2, block.self_attn.out_proj]
            for linear in silent:
                linear.weight.zero_()
                linear.bias.zero_()
    trace = scores(planted, fox, MemoryBudget())
    assert {(s.layer, s.kind) for s in trace.ranked()[:3] if s.kind != "residual"} <= {(layer, "self_attention")}
    for site, effect in trace.effects.items():
        if site.kind == "mlp" or (site.kind == "self_attention" and site.layer != layer):
            assert effect.value == pytest.approx(0, abs=1e-5)
    found = max((s for s in trace.effects if s.kind == "self_attention"), key=lambda s: trace.effects[s].value)
    assert found.layer == layer
    assert trace.effects[found].low > 0.05


def test_two_encoders_separately_and_together(encoder: CLIPTextModel, book: PromptBuilder, fox: Traced) -> None:
    """SDXL: another width, other padding; squared distances of both add up."""
    torch.manual_seed(1)
    config = CLIPTextConfig(
        vocab_size=encoder.config.vocab_size, hidden_size=32, intermediate_size=64, num_hidden_layers=4,
        num_attention_heads=2, max_position_embeddings=24, bos_token_id=812, eos_token_id=813,
    )  # fmt: skip
    second = CLIPTextRunner(CLIPTextModelWithProjection(config).eval(), "penultimate", "text_encoder_2")
    other = traced(book, "object", "fox", fox.texts, fox.alternatives)
    other.ids[torch.arange(24) > other.ends[:, None]] = 0
    first = CLIPTextRunner(encoder, "penultimate")
    samples = samples_of(3, 2)
    both = TextModel((first, second), (fox, other), roles(fox), lambda t, p, s: noisy(t, p, s, 0.1, 7))
    sites = text_sites(2, range(6)) + text_sites(3, range(6), tower=1)
    together = trace_text(both, samples, question(fox, both, samples, sites), distance(both), MemoryBudget())
    parts = []
    for tower, (one, p) in enumerate(((first, fox), (second, other))):
        alone = TextModel((one,), (p,), both.places, both.corrupt)
        own = [site.model_copy(update={"tower": 0}) for site in sites if site.tower == tower]
        parts.append(
            trace_text(alone, samples, question(p, alone, samples, own), distance(alone), MemoryBudget()).scores
        )
    squares = [part.square() for part in parts]
    wanted = torch.cat([squares[0][:, 2:] + squares[1][:, 1:2], squares[0][:, 1:2] + squares[1][:, 2:]], 1).sqrt()
    torch.testing.assert_close(together.scores[:, 2:], -wanted, atol=1e-4, rtol=1e-4, equal_nan=True)


def test_tokens_of_one_prompt_are_readable(book: PromptBuilder) -> None:
    prompts = trace_prompts(book, "style", "noto", 1)
    labels = [place.label for place in every_token(book, prompts)]
    assert labels[0] == "BOS"
    assert labels[-2:] == ["EOS", "padding"]
    assert len(every_token(book, prompts, "each")) == book.context_length
