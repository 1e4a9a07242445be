"""Clean, corrupted and restored runs (Basu et al. 2024, sec. 3, after Meng et al. 2022, sec. 2), in text space.

The corrupted run adds Gaussian noise to the embeddings of the subject's tokens; a restored run also puts one site's output
at the last subject token back to what it was in the clean run. A site's effect is the share of the lost read-out that this
brings back. Only the conditional prompt is touched.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from api_schemas.report import SiteEffect, TraceRecord
from editor.judging.judge import Judge
from editor.judging.statistics import estimate
from editor.prompts import Pair, PromptBook, Removal
from editor.prompts.book import evenly
from editor.tracing.read_out import ReadOut, fit
from editor.tracing.sites import all_sites, embeddings, module_of, record, rewriting

NOISE = 3.0
"""Standard deviations of the subject tokens' embeddings (Meng et al. 2022)."""
DRAWS = 4
PROMPTS = 16
FIT_PROMPTS = 300


@dataclass(frozen=True)
class Subjects:
    """Prompts that name the concept, repeated for every draw of noise: row ``i`` is prompt ``i // DRAWS``."""

    ids: Tensor
    ends: Tensor
    spans: Tensor
    """(n, length) bool: the subject's tokens."""
    last: Tensor
    """Position of each prompt's last subject token."""


def subjects(book: PromptBook, removal: Removal) -> Subjects:
    """The concept's own prompts, a few of each wording."""
    pairs: list[Pair] = evenly(book.edit_pairs(removal), PROMPTS)
    width = len(book.tokenizer(removal.concept.subject)["input_ids"]) - 2
    last = torch.tensor([pair.last_subject for pair in pairs]).repeat_interleave(DRAWS)
    places = torch.arange(book.context)
    spans = (places <= last[:, None]) & (places > last[:, None] - width)
    ids = torch.stack([pair.concept.ids for pair in pairs]).repeat_interleave(DRAWS, 0)
    ends = torch.tensor([pair.concept.eos for pair in pairs]).repeat_interleave(DRAWS)
    used = int(ends.max()) + 1  # the read-out ends at EOS, and no token sees a later one
    return Subjects(ids[:, :used], ends, spans[:, :used], last)


def corruption(encoder: nn.Module, prompts: Subjects, generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """Adds the same noise to the subject's embeddings at every call."""
    with torch.no_grad():
        clean = embeddings(encoder)(prompts.ids)
    deviation = clean[prompts.spans].std()
    noise = NOISE * deviation * torch.randn(clean.shape, generator=generator) * prompts.spans[:, :, None]
    return lambda embedded: embedded + noise


def restoration(clean: Tensor, last: Tensor) -> Callable[[Tensor], Tensor]:
    """Puts the clean output back at the last subject token."""
    rows = torch.arange(len(last))

    def rewrite(output: Tensor) -> Tensor:
        restored = output.clone()
        restored[rows, last] = clean[rows, last]
        return restored

    return rewrite


@torch.no_grad()
def trace(
    encoder: nn.Module,
    book: PromptBook,
    judge: Judge,
    removals: Sequence[Removal],
    index: int,
    seed: int,
    tick: Callable[[float], None] = lambda done: None,
) -> TraceRecord:
    """Trace one removal's concept over layers x {self-attention, MLP} at the last subject token."""
    removal, sites = removals[index], all_sites(encoder)
    prompts = subjects(book, removal)
    kind, name = removal.concept.kind, removal.concept.subject
    read_out = fitted(encoder, book, judge, removals)

    def score(hidden: Tensor) -> Tensor:
        similarity = judge.similarity(kind, read_out.embed(hidden, prompts.ends), name)
        return similarity.reshape(-1, DRAWS).mean(1)

    hidden, clean = record(encoder, prompts.ids, sites)
    top = score(hidden)
    with rewriting(embeddings(encoder), corruption(encoder, prompts, torch.Generator().manual_seed(seed))):
        bottom = score(encoder(prompts.ids).last_hidden_state)
        effects = []
        for done, site in enumerate(sites):
            with rewriting(module_of(encoder, site), restoration(clean[site], prompts.last)):
                restored = score(encoder(prompts.ids).last_hidden_state)
            share = (restored - bottom) / (top - bottom).mean()
            effects.append(SiteEffect(layer=site.layer, kind=site.kind, effect=estimate(share.tolist())))
            tick((done + 1) / len(sites))
    return summarise(index, effects, float(top.mean()), float(bottom.mean()))


def fitted(encoder: nn.Module, book: PromptBook, judge: Judge, removals: Sequence[Removal]) -> ReadOut:
    """The read-out, on prompts of everything the request names and keeps."""
    own = [pair.concept for removal in removals for pair in evenly(book.edit_pairs(removal), PROMPTS)]
    kept = [book.tokenise(text) for text in book.retain_texts(removals, FIT_PROMPTS)]
    prompts = own + kept
    hidden = encoder(torch.stack([prompt.ids for prompt in prompts])).last_hidden_state
    return fit(judge, hidden, torch.tensor([prompt.eos for prompt in prompts]), [prompt.text for prompt in prompts])


def summarise(index: int, effects: list[SiteEffect], clean: float, corrupted: float) -> TraceRecord:
    """The record, with the causal site and whether the evidence separates it from the runner-up."""
    first, second = sorted(effects, key=lambda site: -site.effect.value)[:2]
    return TraceRecord(
        removal=index,
        read_out="judge, linear in text space",
        clean_score=clean,
        corrupted_score=corrupted,
        sites=effects,
        causal_site=f"layer {first.layer} {first.kind}",
        edited_site_is_causal=first.layer == 0 and first.kind == "self_attention",
        separated=first.effect.low > second.effect.value,
    )
