"""The trace of one prompt word by word: layers x words, restoring the output of self-attention. An illustration, no evidence.

The effects over many prompts, with intervals, are those of `editor.tracing.default_trace`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from api_schemas.report import WordEffects, WordTrace
from editor.generation.memory_budget import MemoryBudget
from editor.io.progress import ProgressCallback, no_progress
from editor.prompts import PromptBuilder
from editor.tracing.corruption import Sample
from editor.tracing.encoder_trace import TracedEncoders, trace_text
from editor.tracing.readouts import ReadOut
from editor.tracing.result import Trace, sample_tuples, traced_text_sites
from editor.tracing.score_store import CLEAN, CORRUPTED
from editor.tracing.sites import text_sites
from editor.tracing.traced_prompts import TokenGroup, TracedPrompts

END, PADDING = "end of text", "padding"
WORD_END = "</w>"
"""The mark of CLIP's tokenizers at the last token of a word. Punctuation marks are words of their own."""
WORD_DRAWS = 4


def trace_words(
    trace: Trace,
    encoders: TracedEncoders,
    prompt_builder: PromptBuilder,
    read_out: ReadOut,
    progress: ProgressCallback = no_progress,
) -> WordTrace | None:
    """Trace the words of a typical prompt of ``trace``. Return None if its corruption loses nothing that could be restored."""
    (runner,), (prompts,) = encoders.encoders, encoders.prompts
    number = typical_prompt(trace)
    groups = list(word_groups(prompt_builder, prompts, number))
    samples = [Sample(number, draw) for draw in range(WORD_DRAWS)]
    spec = trace.spec.model_copy(
        update={
            "prompts": (prompts.texts[number],),
            "places": tuple(group.label for group in groups),
            "samples": sample_tuples(samples),
            "sites": tuple(text_sites(runner.depth, range(len(groups)), ("self_attention",))),
        }
    )
    words = trace_text(replace(encoders, groups=groups), samples, spec, read_out, MemoryBudget(), progress=progress)
    if words.lost_score <= 0:
        return None
    subjects = [bool((group.mask & prompts.spans).any()) for group in groups]
    return WordTrace(prompt=prompts.texts[number], words=word_effects(words, subjects))


def typical_prompt(trace: Trace) -> int:
    """Return the prompt whose loss by the corruption is the median."""
    prompt_of, lost = torch.tensor(trace.spec.samples)[:, 0], trace.scores[:, CLEAN] - trace.scores[:, CORRUPTED]
    by_prompt = torch.stack([lost[prompt_of == number].mean() for number in range(len(trace.spec.prompts))])
    return int(by_prompt.argsort()[(len(by_prompt) - 1) // 2])


def word_groups(prompt_builder: PromptBuilder, prompts: TracedPrompts, number: int) -> Iterator[TokenGroup]:
    """Yield the tokens of each word of a prompt, then EOS and padding. The rows of other prompts are empty."""
    tokenizer, eos, context = prompt_builder.tokenizer, int(prompts.eos_positions[number]), prompts.ids.shape[1]
    ids, first = prompts.ids[number].tolist(), 1

    def group(label: str, first: int, last: int) -> TokenGroup:
        mask = torch.zeros_like(prompts.spans)
        mask[number, first : last + 1] = True
        return TokenGroup(label, mask)

    for last in range(1, eos):
        if last == eos - 1 or tokenizer.convert_ids_to_tokens(ids[last]).endswith(WORD_END):
            yield group(tokenizer.decode(ids[first : last + 1]).strip(), first, last)
            first = last + 1
    yield group(END, eos, eos)
    if eos + 1 < context:
        yield group(PADDING, eos + 1, context - 1)


def word_effects(trace: Trace, subjects: Sequence[bool]) -> list[WordEffects]:
    """Return the effects at each word by layer."""
    restored: Tensor = trace.restored_shares.mean(0)
    shares = dict(zip(traced_text_sites(trace), restored.tolist(), strict=True))
    return [
        WordEffects(
            text=label,
            subject=subject,
            effects=[round(share, 4) for site, share in shares.items() if site.place == place],
        )
        for place, (label, subject) in enumerate(zip(trace.spec.places, subjects, strict=True))
    ]
