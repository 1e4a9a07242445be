"""The trace of one prompt, word by word, compared with the baseline tracer."""

import re

import pytest
import torch
from transformers import CLIPTextModel

from editor.bench.baseline_tracer import run_clean, run_restored
from editor.generation.clip_runner import CLIPTextRunner
from editor.generation.memory_budget import MemoryBudget
from editor.prompts import PromptBuilder
from editor.tracing.corruption import Sample, add_noise, make_samples
from editor.tracing.encoder_trace import TracedEncoders, trace_text
from editor.tracing.readouts import TextDistance
from editor.tracing.result import Trace, TraceSpec, sample_tuples
from editor.tracing.sites import TextSite, text_sites
from editor.tracing.traced_prompts import TracedPrompts, last_subject_group, make_traced_prompts
from editor.tracing.word_trace import END, PADDING, WORD_DRAWS, trace_words, typical_prompt, word_groups

SIGMA, SEED = 1.0, 7


def make_encoders(runner: CLIPTextRunner, prompts: TracedPrompts) -> TracedEncoders:
    groups = [last_subject_group(prompts)]
    return TracedEncoders((runner,), (prompts,), groups, lambda r, p, s: add_noise(r, p, s, SIGMA, SEED))


def trace_prompts(encoders: TracedEncoders, read_out: TextDistance) -> Trace:
    """Trace all prompts at the last subject token."""
    prompts, samples = encoders.prompts[0], make_samples(len(encoders.prompts[0].texts), 2)
    spec = TraceSpec(
        model="tiny", concept=prompts.name, attribute="object", read_out="distance", corruption="noise", seed=SEED,
        prompts=prompts.texts, places=("last subject",), samples=sample_tuples(samples), sites=tuple(text_sites(3, [0])),
    )  # fmt: skip
    return trace_text(encoders, samples, spec, read_out, MemoryBudget())


@pytest.mark.parametrize("count", [1, 3])
def test_effects_are_those_of_the_baseline_tracer(encoder: CLIPTextModel, builder: PromptBuilder, count: int) -> None:
    prompts, runner = make_traced_prompts(builder, "object", "fox", count), CLIPTextRunner(encoder)
    encoders = make_encoders(runner, prompts)
    read_out = TextDistance(encoders.clean_states())
    trace = trace_prompts(encoders, read_out)
    number, found = typical_prompt(trace), trace_words(trace, encoders, builder, read_out)
    assert found
    assert found.prompt == prompts.texts[number]
    ids, samples = prompts.ids[number : number + 1], [Sample(number, draw) for draw in range(WORD_DRAWS)]
    clean_states, clean = run_clean(encoder, ids)
    corrupted = add_noise(runner, prompts, samples, SIGMA, SEED)
    for place, group in enumerate(word_groups(builder, prompts, number)):
        for layer in range(3):
            site = TextSite(kind="self_attention", layer=layer, place=place)
            lost, gained = [], []
            for row in range(WORD_DRAWS):
                before, after = (
                    run_restored(encoder, ids, corrupted[row : row + 1], clean, one, group.mask[number])
                    for one in (None, site)
                )
                distances = [float((states - clean_states).double().norm()) for states in (before, after)]
                lost.append(distances[0])
                gained.append(distances[0] - distances[1])
            assert found.words[place].effects[layer] == pytest.approx(sum(gained) / sum(lost), abs=2e-3)


def test_groups_are_the_words_of_one_prompt_and_cover_it_once(builder: PromptBuilder) -> None:
    prompts = make_traced_prompts(builder, "object", "fox", 3)
    for number, text in enumerate(prompts.texts):
        groups = list(word_groups(builder, prompts, number))
        assert [group.label for group in groups] == [*re.findall(r"\w+|[^\w\s]+", text.lower()), END, PADDING]
        covered = torch.stack([group.mask for group in groups]).sum(0)
        assert covered[number].tolist() == [0] + [1] * (builder.context_length - 1), "all but the start token"
        assert covered.sum() == covered[number].sum()
        named = torch.stack([group.mask for group in groups if (group.mask & prompts.spans).any()]).any(0)
        assert torch.equal(named[number], prompts.spans[number])


def test_words_before_the_concept_restore_nothing(encoder: CLIPTextModel, builder: PromptBuilder) -> None:
    """Attention is causal: they never see what was corrupted."""
    prompts = make_traced_prompts(builder, "object", "fox", 3)
    encoders = make_encoders(CLIPTextRunner(encoder), prompts)
    read_out = TextDistance(encoders.clean_states())
    found = trace_words(trace_prompts(encoders, read_out), encoders, builder, read_out)
    assert found
    subjects = [word.subject for word in found.words]
    assert subjects.count(True) == 1
    first = subjects.index(True)
    assert first
    assert all(word.effects == [0.0] * 3 for word in found.words[:first])
    assert any(found.words[first].effects)


def test_typical_prompt_loses_as_much_as_the_median_one(encoder: CLIPTextModel, builder: PromptBuilder) -> None:
    prompts = make_traced_prompts(builder, "object", "fox", 3)
    encoders = make_encoders(CLIPTextRunner(encoder), prompts)
    trace = trace_prompts(encoders, TextDistance(encoders.clean_states()))
    lost = (trace.scores[:, 0] - trace.scores[:, 1]).reshape(3, 2).mean(1).tolist()
    assert lost[typical_prompt(trace)] == sorted(lost)[1]
