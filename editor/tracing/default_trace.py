"""The trace of every job: layers x {self-attention, MLP} at the last subject token, read out in text space.

After Basu et al. 2024, sec. 3, and Meng et al. 2022, sec. 2. Only the conditional prompt is corrupted. It takes seconds and
generates no images.
"""

from collections.abc import Sequence

import torch

from api_schemas.report import SiteEffect, TraceRecord, WordTrace
from editor.generation.clip_runner import CLIPTextRunner
from editor.generation.memory_budget import MemoryBudget
from editor.io.progress import ProgressCallback, SubProgress, no_progress
from editor.judging.judge import Judge
from editor.prompts import PromptBuilder, ResolvedRemoval
from editor.tracing.corruption import NOISE_SCALE, add_noise, embedding_std, make_samples
from editor.tracing.encoder_trace import TracedEncoders, trace_text
from editor.tracing.layer_selection import choose_layer
from editor.tracing.readouts import fit_linear_judge
from editor.tracing.result import Trace, TraceSpec, sample_tuples, traced_text_sites
from editor.tracing.sites import text_sites
from editor.tracing.traced_prompts import last_subject_group, make_traced_prompts
from editor.tracing.word_trace import trace_words

CORRUPTION_DRAWS = 4
MAX_PROMPTS = 16
MAIN_SHARE = 0.75
"""Share of the progress of the trace over all prompts; that of one prompt word by word is the rest."""


@torch.no_grad()
def trace_removal(
    runner: CLIPTextRunner,
    prompt_builder: PromptBuilder,
    judge: Judge,
    removals: Sequence[ResolvedRemoval],
    index: int,
    seed: int,
    progress: ProgressCallback = no_progress,
) -> TraceRecord:
    """Trace the concept of one removal in one text encoder.

    Args:
        runner: the text encoder.
        removals: all removals of the request; their names are left out of the read-out's training prompts.
        index: which removal to trace.
    """
    concept = removals[index].concept
    prompts = make_traced_prompts(prompt_builder, concept.kind, concept.subject, MAX_PROMPTS)
    read_out = fit_linear_judge(runner, prompt_builder, judge, prompts, removals)
    sigma = NOISE_SCALE * embedding_std(runner, prompts.ids, prompts.spans)
    samples, groups = make_samples(len(prompts.texts), CORRUPTION_DRAWS), [last_subject_group(prompts)]
    encoders = TracedEncoders((runner,), (prompts,), groups, lambda r, p, s: add_noise(r, p, s, sigma, seed))
    spec = TraceSpec(
        model=runner.name,
        concept=concept.subject,
        attribute=concept.kind,
        read_out=read_out.name,
        corruption=f"noise, {NOISE_SCALE:g} standard deviations",
        seed=seed,
        prompts=prompts.texts,
        places=tuple(group.label for group in groups),
        samples=sample_tuples(samples),
        sites=tuple(text_sites(runner.depth, [0], ("self_attention", "mlp"))),
    )
    part = SubProgress(progress, 0.0, MAIN_SHARE)
    trace = trace_text(encoders, samples, spec, read_out, MemoryBudget(), progress=part)
    part = SubProgress(progress, MAIN_SHARE, 1 - MAIN_SHARE)
    return make_record(trace, index, trace_words(trace, encoders, prompt_builder, read_out, part))


def make_record(trace: Trace, index: int, by_word: WordTrace | None = None) -> TraceRecord:
    """Return the report's record of a trace."""
    summary, choice = trace.summary, choose_layer(trace)
    strongest = max(traced_text_sites(trace), key=lambda site: trace.effects[site].value)
    return TraceRecord(
        removal=index,
        component=summary.question.model,
        read_out=summary.question.read_out,
        corruption=summary.question.corruption,
        place=summary.question.places[strongest.place],
        clean_score=summary.clean.value,
        corrupted_score=summary.corrupted.value,
        sites=[
            SiteEffect(
                layer=site.layer, kind="mlp" if site.kind == "mlp" else "self_attention", effect=trace.effects[site]
            )
            for site in traced_text_sites(trace)
        ],
        causal_site=strongest.label,
        edited_site_is_causal=strongest.layer == 0 and strongest.kind == "self_attention",
        separated=choice.ahead,
        choice=choice.reason,
        chosen_layer=choice.layer,
        by_word=by_word,
    )
