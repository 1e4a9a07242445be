"""The trace that every job runs: layers x {self-attention, MLP} at the last subject token, read out in text space.

After Basu et al. 2024, sec. 3, and Meng et al. 2022, sec. 2. Only the conditional prompt is touched. Seconds, no images.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from api_schemas.report import SiteEffect, TraceRecord
from editor.generation.clip_runner import CLIPTextRunner
from editor.generation.memory_budget import MemoryBudget
from editor.judging.judge import Judge
from editor.prompts import PromptBuilder, ResolvedRemoval
from editor.tracing.corruption import NOISE, deviation, noisy, samples_of
from editor.tracing.encoder_trace import TextModel, trace_text
from editor.tracing.layer_selection import choose_layer
from editor.tracing.readouts import linear_judge
from editor.tracing.result import Question, Trace, as_tuples, text_only
from editor.tracing.sites import text_sites
from editor.tracing.traced_prompts import last_subject, trace_prompts

DRAWS = 4
PROMPTS = 16


@torch.no_grad()
def trace(
    encoder: nn.Module,
    book: PromptBuilder,
    judge: Judge,
    removals: Sequence[ResolvedRemoval],
    index: int,
    seed: int,
    tick: Callable[[float], None] = lambda done: None,
) -> TraceRecord:
    """Trace one removal's concept."""
    concept, tower = removals[index].concept, CLIPTextRunner(encoder)
    prompts = trace_prompts(book, concept.kind, concept.subject, PROMPTS)
    read_out = linear_judge(tower, book, judge, prompts, removals)
    sigma, samples = NOISE * deviation(tower, prompts.ids, prompts.spans), samples_of(len(prompts.texts), DRAWS)
    places = [last_subject(prompts)]
    model = TextModel((tower,), (prompts,), places, lambda t, p, s: noisy(t, p, s, sigma, seed))
    question = Question(
        model=tower.name,
        concept=concept.subject,
        attribute=concept.kind,
        read_out=read_out.name,
        corruption=f"noise, {NOISE:g} standard deviations",
        seed=seed,
        prompts=prompts.texts,
        places=tuple(place.label for place in places),
        samples=as_tuples(samples),
        sites=tuple(text_sites(tower.depth, [0], ("self_attention", "mlp"))),
    )
    return recorded(trace_text(model, samples, question, read_out, MemoryBudget(), tick=tick), index)


def recorded(trace: Trace, index: int) -> TraceRecord:
    """The trace as the report has it."""
    summary, choice = trace.summary, choose_layer(trace)
    first = max(text_only(trace), key=lambda site: trace.effects[site].value)
    return TraceRecord(
        removal=index,
        read_out=summary.question.read_out,
        corruption=summary.question.corruption,
        place=summary.question.places[first.place],
        clean_score=summary.clean.value,
        corrupted_score=summary.corrupted.value,
        sites=[
            SiteEffect(
                layer=site.layer, kind="mlp" if site.kind == "mlp" else "self_attention", effect=trace.effects[site]
            )
            for site in text_only(trace)
        ],
        causal_site=first.label,
        edited_site_is_causal=first.layer == 0 and first.kind == "self_attention",
        separated=choice.ahead,
        choice=choice.reason,
        chosen_layer=choice.layer,
    )
