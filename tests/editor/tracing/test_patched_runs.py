"""Patched encoder runs, compared with the baseline tracer and with known answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from editor.bench.baseline_tracer import run_clean, run_restored
from editor.generation.clip_runner import CLIPTextRunner
from editor.generation.config import EncoderStates
from editor.generation.memory_budget import MemoryBudget
from editor.prompts import PromptBuilder
from editor.tracing.corruption import NOISE_SCALE, Sample, add_noise, embedding_std, make_samples
from editor.tracing.encoder_trace import TraceBatch, TracedEncoders, trace_text
from editor.tracing.patched_runs import make_text_patcher
from editor.tracing.readouts import TextDistance
from editor.tracing.result import Trace, TraceSpec, sample_tuples
from editor.tracing.score_store import SITE_OFFSET
from editor.tracing.sites import TextSite, text_sites
from editor.tracing.traced_prompts import (
    TracedPrompts,
    make_traced_prompts,
    role_groups,
    single_token_groups,
    tokenize_prompts,
)


@pytest.fixture(scope="module")
def fox(builder: PromptBuilder) -> TracedPrompts:
    return make_traced_prompts(builder, "object", "fox", 3)


def model_of(runner: CLIPTextRunner, prompts: TracedPrompts, places=None) -> TracedEncoders:
    sigma = NOISE_SCALE * embedding_std(runner, prompts.ids, prompts.spans)
    return TracedEncoders(
        (runner,), (prompts,), places or role_groups(prompts), lambda t, p, s: add_noise(t, p, s, sigma, 7)
    )


def make_spec(prompts: TracedPrompts, model: TracedEncoders, samples: list[Sample], sites: list[TextSite]) -> TraceSpec:
    return TraceSpec(
        model="tiny", concept=prompts.name, attribute="object", read_out="distance", corruption="noise", seed=7,
        prompts=prompts.texts, places=tuple(p.label for p in model.groups), samples=sample_tuples(samples), sites=tuple(sites),
    )  # fmt: skip


@dataclass(frozen=True)
class EosDistance(TextDistance):
    """A read-out of the EOS state only, so that padding is not computed."""

    eos_positions: Tensor = field(default_factory=lambda: torch.empty(0))
    reads_padding: bool = False

    def score(self, states: EncoderStates, samples: Sequence[Sample]) -> Tensor:
        prompts = torch.tensor([sample.prompt for sample in samples])
        ends = self.eos_positions[prompts]
        eos, clean = states[0][torch.arange(len(ends)), ends], self.clean[0][prompts, ends]
        return -(eos - clean).norm(dim=1).double()


def make_distance(model: TracedEncoders, reads_padding: bool = True) -> TextDistance:
    return (
        TextDistance(model.clean_states())
        if reads_padding
        else EosDistance(model.clean_states(), eos_positions=model.prompts[0].eos_positions)
    )


def test_clean_run_matches_the_encoder(encoder: CLIPTextModel, fox: TracedPrompts) -> None:
    ours = model_of(CLIPTextRunner(encoder), fox).clean_states()[0]
    with torch.no_grad():
        torch.testing.assert_close(ours, encoder(fox.ids).last_hidden_state, atol=1e-5, rtol=1e-5)


def test_penultimate_output_is_the_state_before_the_last_layer(encoder: CLIPTextModel, fox: TracedPrompts) -> None:
    with torch.no_grad():
        wanted = encoder(fox.ids, output_hidden_states=True).hidden_states[-2]
    ours = model_of(CLIPTextRunner(encoder, "penultimate"), fox).clean_states()[0]
    torch.testing.assert_close(ours, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("window", [1, 2, 3])
def test_patched_states_match_the_baseline_tracer(encoder: CLIPTextModel, fox: TracedPrompts, window: int) -> None:
    """For prompts of different lengths and several draws, with one run of the unmodified encoder per site."""
    runner, samples = CLIPTextRunner(encoder), make_samples(3, 2)
    model, sites = model_of(runner, fox), text_sites(3, range(6), window=window)
    batch = TraceBatch(model.make_patchers(samples, 24), samples, 0, sites, model.groups)
    cells = batch.site_cells()
    states, corrupted = batch.states(cells)[0], model.corrupt(runner, fox, samples)
    assert len(cells) > 150 / window
    for mine, (row, column) in zip(states, cells, strict=True):
        site, prompt = sites[column - SITE_OFFSET], samples[row].prompt
        ids = fox.ids[prompt : prompt + 1]
        _, clean = run_clean(encoder, ids)
        mask = model.groups[site.place].mask[prompt]
        plain = run_restored(encoder, ids, corrupted[row : row + 1], clean, site, mask)
        torch.testing.assert_close(mine, plain[0], atol=1e-4, rtol=1e-4)


def test_patching_all_or_no_positions_gives_the_clean_or_the_corrupted_run(
    encoder: CLIPTextModel, builder: PromptBuilder
) -> None:
    prompts = make_traced_prompts(builder, "object", "fox", 1)
    context, samples = builder.context_length, make_samples(1, 4)
    everything = [Tensor.new_ones(prompts.ids, (1, context)).bool(), Tensor.new_zeros(prompts.ids, (1, context)).bool()]
    runner = CLIPTextRunner(encoder)
    patcher = make_text_patcher(
        runner, prompts.ids, prompts.spans, model_of(runner, prompts).corrupt(runner, prompts, samples),
        torch.zeros(4, dtype=torch.long), [type("P", (), {"mask": m})() for m in everything],
    )  # fmt: skip
    for layer in range(3):
        site = TextSite(kind="residual", layer=layer, place=0, window=3 - layer)
        restored = patcher.patch([(i, site) for i in range(4)])
        assert torch.equal(restored, patcher.clean.states.expand(4, -1, -1)), "exactly"
        nothing = TextSite(kind="residual", layer=layer, place=1)
        unmoved = patcher.patch([(i, nothing) for i in range(4)])
        torch.testing.assert_close(unmoved, patcher.corrupted.states, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(patcher.corrupted.states[0], patcher.corrupted.states[1], atol=1e-2), "draws differ"


def test_noise_changes_exactly_the_subject_tokens(encoder: CLIPTextModel, fox: TracedPrompts) -> None:
    runner, samples = CLIPTextRunner(encoder), make_samples(3, 2)
    changed = (model_of(runner, fox).corrupt(runner, fox, samples) != runner.embed(fox.ids)[[0, 0, 1, 1, 2, 2]]).any(-1)
    assert torch.equal(changed, fox.spans[[0, 0, 1, 1, 2, 2]])
    assert set(fox.spans.sum(1).tolist()) == {2}, "fox is two tokens"
    assert torch.equal(fox.last_subject, fox.spans.int().cumsum(1).argmax(1))


def trace_fox_sites(
    encoder: CLIPTextModel, prompts: TracedPrompts, budget: MemoryBudget, reads_padding: bool = True
) -> Trace:
    model, samples, sites = model_of(CLIPTextRunner(encoder), prompts), make_samples(3, 2), text_sites(3, range(6))
    return trace_text(
        model, samples, make_spec(prompts, model, samples, sites), make_distance(model, reads_padding), budget
    )


def test_batch_sizes_do_not_change_scores(encoder: CLIPTextModel, fox: TracedPrompts) -> None:
    one_by_one = trace_fox_sites(encoder, fox, MemoryBudget(activation_bytes=1))
    together = trace_fox_sites(encoder, fox, MemoryBudget())
    torch.testing.assert_close(one_by_one.scores, together.scores, atol=1e-5, rtol=1e-5, equal_nan=True)


def test_bfloat16_effects_are_close_to_float32(encoder: CLIPTextModel, fox: TracedPrompts) -> None:
    model = model_of(CLIPTextRunner(encoder, precision="bfloat16"), fox)
    samples, sites = make_samples(3, 2), text_sites(3, range(6))
    fast = trace_text(model, samples, make_spec(fox, model, samples, sites), make_distance(model), MemoryBudget())
    plain = trace_fox_sites(encoder, fox, MemoryBudget())
    assert max(abs(fast.effects[site].value - effect.value) for site, effect in plain.effects.items()) < 0.01


def test_row_order_does_not_change_states(encoder: CLIPTextModel, fox: TracedPrompts) -> None:
    model, samples = model_of(CLIPTextRunner(encoder), fox), make_samples(3, 2)
    sites = text_sites(3, range(6))
    batch = TraceBatch(model.make_patchers(samples, 24), samples, 0, sites, model.groups)
    cells, order = (
        batch.site_cells(),
        torch.randperm(len(batch.site_cells()), generator=torch.Generator().manual_seed(0)),
    )
    shuffled = batch.states([cells[i] for i in order])[0]
    torch.testing.assert_close(shuffled, batch.states(cells)[0][order], atol=1e-6, rtol=1e-6)


def test_padding_is_not_computed_for_a_read_out_that_ignores_it(encoder: CLIPTextModel, fox: TracedPrompts) -> None:
    """Restoring padding has no effect on EOS."""
    full = trace_fox_sites(encoder, fox, MemoryBudget(), reads_padding=False)
    assert {full.effects[site].value for site in full.effects if site.place == 5} == {0.0}
    model, samples, sites = model_of(CLIPTextRunner(encoder), fox), make_samples(3, 2), text_sites(3, range(6))
    batch = TraceBatch(model.make_patchers(samples, 24), samples, 0, sites, model.groups)
    read_out = make_distance(model, reads_padding=False)
    cells = batch.site_cells()
    by_hand = read_out.score(batch.states(cells), [batch.sample(cell) for cell in cells])
    for cell, score in zip(cells, by_hand, strict=True):
        if sites[cell[1] - SITE_OFFSET].place != 5:
            assert float(full.scores[cell]) == pytest.approx(float(score), abs=1e-5)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_trace_finds_the_only_layer_that_moves_information(
    encoder: CLIPTextModel, fox: TracedPrompts, layer: int
) -> None:
    """Only one layer's attention has an output, so the subject's information can leave its tokens only there."""
    planted = CLIPTextModel(encoder.config).eval()
    planted.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        for i, block in enumerate(planted.encoder.layers):
            silent = [block.mlp.fc2] if i == layer else [block.mlp.fc2, block.self_attn.out_proj]
            for linear in silent:
                linear.weight.zero_()
                linear.bias.zero_()
    trace = trace_fox_sites(planted, fox, MemoryBudget())
    assert {(s.layer, s.kind) for s in trace.rank_sites()[:3] if s.kind != "residual"} <= {(layer, "self_attention")}
    for site, effect in trace.effects.items():
        if site.kind == "mlp" or (site.kind == "self_attention" and site.layer != layer):
            assert effect.value == pytest.approx(0, abs=1e-5)
    found = max((s for s in trace.effects if s.kind == "self_attention"), key=lambda s: trace.effects[s].value)
    assert found.layer == layer
    assert trace.effects[found].low > 0.05


def test_scores_of_two_encoders_combine_those_of_each(
    encoder: CLIPTextModel, builder: PromptBuilder, fox: TracedPrompts
) -> None:
    """As in SDXL, the encoders differ in width and padding; their squared distances add up."""
    torch.manual_seed(1)
    config = CLIPTextConfig(
        vocab_size=encoder.config.vocab_size, hidden_size=32, intermediate_size=64, num_hidden_layers=4,
        num_attention_heads=2, max_position_embeddings=24, bos_token_id=812, eos_token_id=813,
    )  # fmt: skip
    second = CLIPTextRunner(CLIPTextModelWithProjection(config).eval(), "penultimate", "text_encoder_2")
    other = tokenize_prompts(builder, "object", "fox", fox.texts, fox.alternatives)
    other.ids[torch.arange(24) > other.eos_positions[:, None]] = 0
    first = CLIPTextRunner(encoder, "penultimate")
    samples = make_samples(3, 2)
    both = TracedEncoders((first, second), (fox, other), role_groups(fox), lambda t, p, s: add_noise(t, p, s, 0.1, 7))
    sites = text_sites(2, range(6)) + text_sites(3, range(6), tower=1)
    together = trace_text(both, samples, make_spec(fox, both, samples, sites), make_distance(both), MemoryBudget())
    parts = []
    for index, (one, p) in enumerate(((first, fox), (second, other))):
        alone = TracedEncoders((one,), (p,), both.groups, both.corrupt)
        own = [site.model_copy(update={"tower": 0}) for site in sites if site.tower == index]
        parts.append(
            trace_text(alone, samples, make_spec(p, alone, samples, own), make_distance(alone), MemoryBudget()).scores
        )
    squares = [part.square() for part in parts]
    wanted = torch.cat([squares[0][:, 2:] + squares[1][:, 1:2], squares[0][:, 1:2] + squares[1][:, 2:]], 1).sqrt()
    torch.testing.assert_close(together.scores[:, 2:], -wanted, atol=1e-4, rtol=1e-4, equal_nan=True)


def test_token_labels_of_a_single_prompt_are_readable(builder: PromptBuilder) -> None:
    prompts = make_traced_prompts(builder, "style", "noto", 1)
    labels = [place.label for place in single_token_groups(builder, prompts)]
    assert labels[0] == "BOS"
    assert labels[-2:] == ["EOS", "padding"]
    assert len(single_token_groups(builder, prompts, "each")) == builder.context_length
