"""The key that the edited projection maps to the concept's original value, in closed form, and the words nearest to it.

RECE (Gong et al., ECCV 2024) finds the text embedding that restores a concept through edited cross-attention. The analogue for
an edited output projection ``W'`` of the text encoder is ``k' = (lambda I + W'^T W')^-1 W'^T W k`` for a key ``k`` of the
concept. Unlike an embedding, a key is not an input but a mixture of the heads' outputs, so ``k'`` alone is a bound, not an
attack. The attack tries words: it generates images of those whose own value under ``W'`` is nearest to ``W k``.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from api_schemas.attacks import Access, AttackRecord
from editor.checkpoints.tensor_update import TensorUpdate
from editor.errors import AttackNotApplicable
from editor.io.progress import ProgressCallback, checked
from editor.judging.attacks.attack import AttackBudget
from editor.judging.attacks.concept_discriminant import concept_discriminant
from editor.judging.attacks.context import PROMPT_BATCH, AttackContext, ModelVariant
from editor.judging.attacks.records import Candidate, attempt_prompts, make_record
from editor.prompts.prompt_builder import name_spans
from editor.prompts.templates import evenly_spaced

RIDGE_SHARE = 1e-3
"""Lambda, as a share of the mean eigenvalue of ``W'^T W'``."""
MAX_KEY_PROMPTS = 8


def adversarial_keys(base: Tensor, edited: Tensor, keys: Tensor) -> Tensor:
    """Return the keys ``(n, d)`` that the edited weight maps to the original values of ``keys`` ``(n, d)``."""
    system = edited.T @ edited
    system = system + RIDGE_SHARE * system.diagonal().mean() * torch.eye(len(system), dtype=system.dtype)
    found: Tensor = torch.linalg.solve(system, edited.T @ (base @ keys.T))
    return found.T


def relative_distance(values: Tensor, wanted: Tensor) -> Tensor:
    """Return the distance ``(n,)`` of values ``(n, d)`` to the wanted ones, relative to the latter's norm."""
    distances: Tensor = torch.linalg.vector_norm(values - wanted, dim=1) / torch.linalg.vector_norm(wanted, dim=1)
    return distances


@torch.no_grad()
def subject_keys(variant: ModelVariant, projection: Any, prompts: Sequence[tuple[str, str]]) -> Tensor:
    """Return the projection's input ``(n, d)`` at the last subject token of each pair of a prompt and its subject."""
    caught: list[Tensor] = []
    handle = projection.register_forward_pre_hook(lambda _, given: caught.append(given[0]))
    try:
        for ids in checked(torch.split(variant.prompt_builder.token_ids([text for text, _ in prompts]), PROMPT_BATCH)):
            variant.encoder(input_ids=ids.to(variant.runner.device))
    finally:
        handle.remove()
    places = torch.tensor([variant.prompt_builder.subject_span(text, subject)[1] for text, subject in prompts])
    return torch.cat(caught).cpu()[torch.arange(len(prompts)), places].double()


def candidate_words(context: AttackContext, limit: int, generator: torch.Generator) -> list[str]:
    """Return whole words of the vocabulary in random order, then pairs of them; none names the concept."""
    vocabulary = sorted(context.prompt_builder.tokenizer.get_vocab())
    names = [name.text for name in context.prompt_builder.expand(context.removal).names]
    known = [text for token in vocabulary if token.endswith("</w>") and (text := token[:-4]).isalpha()]
    free = [text for text in known if text.isascii() and not any(name_spans(name, text) for name in names)]
    single = [free[i] for i in torch.randperm(len(free), generator=generator)[:limit].tolist()]
    left, right = torch.randint(len(free), (2, max(0, limit - len(single))), generator=generator).tolist()
    pairs = [f"{free[i]} {free[j]}" for i, j in zip(left, right, strict=True)]
    return single + [pair for pair in pairs if not any(name_spans(name, pair) for name in names)]


class AdversarialKey:
    """Search for adversarial words at the first edited layer."""

    name: ClassVar[str] = "adversarial_key"
    access: ClassVar[Access] = "encoder"
    unit: ClassVar[str] = "words read by the edited encoder"
    default_budget: ClassVar[int] = 1000
    published_budget: ClassVar[int | None] = None
    source: ClassVar[str] = "After RECE (Gong et al., ECCV 2024), adapted from cross-attention to out_proj."
    tells: ClassVar[str] = (
        "Some key restores the value whenever the edited weight has full rank, which the edit does not change. "
        "A word near that key that generates the concept is a gap in the edit."
    )

    def run(self, context: AttackContext, budget: AttackBudget, progress: ProgressCallback) -> AttackRecord:
        """Run the attack."""
        update, discriminant = first_projection(context), concept_discriminant(context)
        base, edited = update.base.double(), update.edited.double()
        own = subject_keys(context.before, get_projection(context.before, update.name), concept_prompt_pairs(context))
        wanted = own @ base.T
        ideal = adversarial_keys(base, edited, own)
        words = candidate_words(context, budget.limit, torch.Generator().manual_seed(budget.seed))
        prompts = [(context.prompt_with_name(context.concept_prompts[0], word), word) for word in words]
        tried = [(text, word) for text, word in prompts if context.prompt_builder.fits(text)]
        keys = subject_keys(context.after, get_projection(context.after, update.name), tried)
        distances = relative_distance(keys @ edited.T, wanted[:1].expand(len(keys), -1))
        progress(0.2)
        nearest = [tried[i][0] for i in distances.argsort()[: budget.images].tolist()]
        ranked = [Candidate(text, budget.seed, score) for text, score in discriminant.rank(context.after, nearest)]
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
            spent=len(tried),
            tried=len(tried),
            measures=measures,
        )


def first_projection(context: AttackContext) -> TensorUpdate:
    """Return the first edited projection of the text encoder. Raises AttackNotApplicable: only the denoiser is edited."""
    own = [update for update in context.updates if update.component == "text_encoder"]
    if not own:
        raise AttackNotApplicable("The attack needs an edited text encoder.", field="validation.attacks")
    return own[0]


def concept_prompt_pairs(context: AttackContext) -> list[tuple[str, str]]:
    """Return prompts about the concept with the name in each; candidate words are tried in the first."""
    return [
        (context.concept_prompts[0].text(), context.name),
        *((p.text(), context.name) for p in evenly_spaced(context.concept_prompts[1:], MAX_KEY_PROMPTS)),
    ]


def get_projection(variant: ModelVariant, name: str) -> Any:
    """Return the module of a model's text encoder by the name of its weight."""
    encoder = getattr(variant.encoder, "text_model", variant.encoder)
    return encoder.get_submodule(name.removeprefix("text_model.").removesuffix(".weight"))
