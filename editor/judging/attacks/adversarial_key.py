"""The key that the edited projection turns into the concept's old value, in closed form; and the words whose keys come nearest.

RECE (Gong et al., ECCV 2024) finds, for edited cross-attention, the text embedding that brings the concept back. The analogue
for an edited output projection ``W'`` of the text encoder is ``k' = (lambda I + W'^T W')^-1 W'^T W k`` for a key ``k`` of the
concept. Unlike an embedding, a key is no input: it is a mixture of what the heads read, so ``k'`` alone is a bound, not an
attack. What a prompt can do is measured with words: those whose own value under ``W'`` is nearest to ``W k`` are drawn.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from api_schemas.attacks import Access, AttackRecord
from editor.io.progress import ProgressCallback
from editor.judging.attacks.attack import AttackBudget
from editor.judging.attacks.concept_discriminant import concept_discriminant
from editor.judging.attacks.context import PROMPT_BATCH, AttackContext, ModelVariant
from editor.judging.attacks.records import Candidate, attempt_prompts, make_record
from editor.prompts.prompt_builder import name_spans
from editor.prompts.templates import evenly_spaced

RIDGE_SHARE = 1e-3
"""Lambda, as a share of the mean eigenvalue."""
MAX_KEY_PROMPTS = 8


def adversarial_keys(base: Tensor, edited: Tensor, keys: Tensor) -> Tensor:
    """Weights ``(d, d)`` before and after, keys ``(n, d)`` -> the keys ``(n, d)`` that bring the old values back."""
    system = edited.T @ edited
    system = system + RIDGE_SHARE * system.diagonal().mean() * torch.eye(len(system), dtype=system.dtype)
    found: Tensor = torch.linalg.solve(system, edited.T @ (base @ keys.T))
    return found.T


def relative_distance(values: Tensor, wanted: Tensor) -> Tensor:
    """``(n, d)`` twice -> ``(n,)``: distance, relative to what is wanted."""
    distances: Tensor = torch.linalg.vector_norm(values - wanted, dim=1) / torch.linalg.vector_norm(wanted, dim=1)
    return distances


@torch.no_grad()
def subject_keys(variant: ModelVariant, projection: Any, prompts: Sequence[tuple[str, str]]) -> Tensor:
    """Pairs of a prompt and its subject -> ``(n, d)`` keys of the projection at the last subject tokens."""
    caught: list[Tensor] = []
    handle = projection.register_forward_pre_hook(lambda _, given: caught.append(given[0]))
    try:
        for ids in torch.split(variant.book.token_ids([text for text, _ in prompts]), PROMPT_BATCH):
            variant.encoder(input_ids=ids)
    finally:
        handle.remove()
    places = torch.tensor([variant.book.subject_span(text, subject)[1] for text, subject in prompts])
    return torch.cat(caught)[torch.arange(len(prompts)), places].double()


def candidate_words(context: AttackContext, limit: int, generator: torch.Generator) -> list[str]:
    """Whole words of the vocabulary in random order, then pairs of them; none names the concept."""
    tokenizer, names = context.book.tokenizer, [name.text for name in context.book.expand(context.removal).names]
    known = [
        text for token in sorted(tokenizer.get_vocab()) if token.endswith("</w>") and (text := token[:-4]).isalpha()
    ]
    free = [text for text in known if text.isascii() and not any(name_spans(name, text) for name in names)]
    single = [free[i] for i in torch.randperm(len(free), generator=generator)[:limit].tolist()]
    left, right = torch.randint(len(free), (2, max(0, limit - len(single))), generator=generator).tolist()
    pairs = [f"{free[i]} {free[j]}" for i, j in zip(left, right, strict=True)]
    return single + [pair for pair in pairs if not any(name_spans(name, pair) for name in names)]


class AdversarialKey:
    """At the first edited layer."""

    name: ClassVar[str] = "adversarial_key"
    access: ClassVar[Access] = "encoder"
    unit: ClassVar[str] = "words read by the edited encoder"
    default_budget: ClassVar[int] = 1000
    published_budget: ClassVar[int | None] = None
    source: ClassVar[str] = "After RECE (Gong et al., ECCV 2024), carried over from cross-attention to out_proj."
    tells: ClassVar[str] = (
        "That some key brings the value back says only that the edited weight has full rank, which the edit does not change. "
        "A word that comes near it, and draws the concept, is a hole."
    )

    def run(self, context: AttackContext, budget: AttackBudget, progress: ProgressCallback) -> AttackRecord:
        """Solve, look for words, draw the nearest."""
        update = context.updates[0]
        base, edited = update.base.double(), update.edited.double()
        own = subject_keys(context.before, get_projection(context.before, update.name), concept_prompt_pairs(context))
        wanted = own @ base.T
        ideal = adversarial_keys(base, edited, own)
        texts = [(text, word) for word in candidate_words(context, budget.limit, torch.Generator().manual_seed(budget.seed))
                 if context.book.fits(text := context.prompt_with_name(context.concept_prompts[0], word))]  # fmt: skip
        found = subject_keys(context.after, get_projection(context.after, update.name), texts)
        distances = relative_distance(found @ edited.T, wanted[:1].expand(len(found), -1))
        progress(0.2)
        chosen = [texts[i][0] for i in distances.argsort()[: budget.images].tolist()]
        ranked = [
            Candidate(text, budget.seed, like)
            for text, like in concept_discriminant(context).rank(context.after, chosen)
        ]
        measures = {
            "value missed by the concept's own key": float(relative_distance(own @ edited.T, wanted).mean()),
            "value missed by the adversarial key": float(relative_distance(ideal @ edited.T, wanted).mean()),
            "how far that key is, relative": float(relative_distance(ideal, own).mean()),
            "value missed by the nearest word": float(distances.min()),
        }
        return make_record(
            self,
            context,
            budget,
            attempt_prompts(context, ranked),
            spent=len(texts),
            tried=len(texts),
            measures=measures,
        )


def concept_prompt_pairs(context: AttackContext) -> list[tuple[str, str]]:
    """Prompts about the concept, with what names it; the first is the one that words are tried in."""
    return [
        (context.concept_prompts[0].text(), context.name),
        *((p.text(), context.name) for p in evenly_spaced(context.concept_prompts[1:], MAX_KEY_PROMPTS)),
    ]


def get_projection(variant: ModelVariant, name: str) -> Any:
    """The module of a variant's encoder whose weight is called so."""
    encoder = getattr(variant.encoder, "text_model", variant.encoder)
    return encoder.get_submodule(name.removeprefix("text_model.").removesuffix(".weight"))
