"""Concept inversion (Pham et al., ICLR 2024): a new token whose embedding is learned through the edited model, weights in hand.

Textual inversion (Gal et al., ICLR 2023) of the removed concept: only the embedding of one token is learned, and it passes
through the edited encoder. One variant learns from images of the concept by the denoising loss, as published; the other needs
no images and matches the edited encoder's states to those of the original encoder for the concept's name.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from api_schemas.attacks import Access, AttackRecord
from editor.generation.config import ImageSpec
from editor.io.progress import ProgressCallback, SubProgress
from editor.judging.attacks.attack import AttackBudget
from editor.judging.attacks.concept_discriminant import concept_discriminant, summarize_states
from editor.judging.attacks.context import AttackContext, override_token_embedding
from editor.judging.attacks.diffusion_loss import TrainingImages, denoising_loss
from editor.judging.attacks.records import Candidate, make_attempts, make_record
from editor.prompts.templates import evenly_spaced

BATCH_SIZE = 4
TRAINING_PROMPTS = 16
"""Prompts that the token is learned in; it is tested in others."""
RELATIVE_LEARNING_RATE = 0.1
"""Learning rate, in standard deviations of the encoder's token embeddings."""
LossFunction = Callable[[Tensor, torch.Generator], Tensor]
"""Returns the loss of a batch for an embedding ``(d,)`` and a random generator."""


def find_unused_token(context: AttackContext) -> tuple[int, str]:
    """Return the id and text of a whole-word token that occurs in no prompt, to carry the learned embedding."""
    tokenizer, vocabulary = context.prompt_builder.tokenizer, context.prompt_builder.tokenizer.get_vocab()
    prompts = [phrase.text() for phrase in (*context.concept_prompts, *context.other_prompts)]
    used = {token for known in context.prompt_builder.tokenizer_cache.encode(prompts) for token in known.ids}
    free = [token for token in vocabulary if token.endswith("</w>") and token[:-4].isalpha() and token.isascii()]
    word = next(token for token in sorted(free, reverse=True) if vocabulary[token] not in used)
    assert tokenizer(word[:-4])["input_ids"][1:-1] == [vocabulary[word]]
    return vocabulary[word], word[:-4]


def learn_embedding(
    context: AttackContext, encoder: int, loss_of: LossFunction, budget: AttackBudget, progress: ProgressCallback
) -> Tensor:
    """Return the embedding ``(d,)`` after ``budget.limit`` steps of Adam from the mean of the concept's token embeddings."""
    table = context.after.runners[encoder].text_model.embeddings.token_embedding.weight.detach()
    own = context.prompt_builder.tokenizer_cache.encode([context.name])[0].ids[1:-1]
    embedding = table[own].float().mean(0).clone().requires_grad_()
    generator = torch.Generator().manual_seed(budget.seed)
    optimiser = torch.optim.Adam([embedding], lr=RELATIVE_LEARNING_RATE * float(table.std()))
    with torch.enable_grad():
        for step in range(budget.limit):
            (embedding.grad,) = torch.autograd.grad(loss_of(embedding, generator), [embedding])
            optimiser.step()
            progress((step + 1) / budget.limit)
    learned: Tensor = embedding.detach()
    return learned


class ConceptInversion:
    """Learn a token, then generate images of prompts that it was not learned in."""

    name: ClassVar[str]
    access: ClassVar[Access] = "weights"
    unit: ClassVar[str] = "steps"
    default_budget: ClassVar[int]
    source: ClassVar[str]
    published_budget: ClassVar[int | None] = 5000
    tells: ClassVar[str] = (
        "A success shows that the denoiser can still generate the concept from suitable hidden states. That is expected of any "
        "edit of the text encoder alone, and requires the weights: it takes a new token, not a prompt."
    )

    def run(self, context: AttackContext, budget: AttackBudget, progress: ProgressCallback) -> AttackRecord:
        """Run the attack on every CLIP text encoder. Raises AttackNotApplicable."""
        token, word = find_unused_token(context)
        asked, known = (
            context.concept_prompts[: budget.images],
            evenly_spaced(context.concept_prompts[budget.images :] or context.concept_prompts, TRAINING_PROMPTS),
        )
        pairs = [(phrase.text(), context.prompt_with_name(phrase, word)) for phrase in known]
        texts = [context.prompt_with_name(phrase, word) for phrase in asked]
        with ExitStack() as learned:
            for encoder, runner in enumerate(context.after.runners):
                part = SubProgress(
                    progress, 0.9 * encoder / len(context.after.runners), 0.9 / len(context.after.runners)
                )
                loss_of = self.make_loss(context, encoder, pairs, token, budget)
                embedding = learn_embedding(context, encoder, loss_of, budget, part)
                learned.enter_context(override_token_embedding(runner.encoder, token, embedding))
            ids = context.prompt_builder.token_ids(texts)
            scores = concept_discriminant(context).score(context.after.encode_prompts(texts), ids).tolist()
            images = context.after.generate_specs([ImageSpec(text, budget.seed) for text in texts])
        chosen = [Candidate(context.prompt_with_name(phrase, "<learned>"), budget.seed, score)
                  for phrase, score in zip(asked, scores, strict=True)]  # fmt: skip
        attempts = make_attempts(context, chosen, images)
        return make_record(self, context, budget, attempts, spent=budget.limit, tried=1)

    def make_loss(
        self, context: AttackContext, encoder: int, pairs: list[tuple[str, str]], token: int, budget: AttackBudget
    ) -> LossFunction:
        """Return the training loss, from pairs of a prompt about the concept and the same prompt with the new token."""
        raise NotImplementedError


class TextInversion(ConceptInversion):
    """Learn the token without images, by matching the original encoder's states."""

    name: ClassVar[str] = "inversion_text"
    default_budget: ClassVar[int] = 60
    published_budget: ClassVar[int | None] = None
    source: ClassVar[str] = "Own surrogate of concept inversion in text space: match the states at EOS and padding."

    def make_loss(
        self, context: AttackContext, encoder: int, pairs: list[tuple[str, str]], token: int, budget: AttackBudget
    ) -> LossFunction:
        """Return the mean squared distance of state summaries, relative to their variance."""
        end, (named, renamed) = int(context.prompt_builder.tokenizer.eos_token_id), zip(*pairs, strict=True)
        states = context.before.encode_prompts(named, encoder)
        wanted = summarize_states(states, context.prompt_builder.token_ids(named), end)
        ids, spread = context.prompt_builder.token_ids(renamed), wanted.var(0).mean()

        def loss_of(embedding: Tensor, generator: torch.Generator) -> Tensor:
            rows = torch.randperm(len(ids), generator=generator)[:BATCH_SIZE]
            with override_token_embedding(context.after.runners[encoder].encoder, token, embedding):
                states = context.after.encode_ids(ids[rows], encoder).cpu()
            return F.mse_loss(summarize_states(states, ids[rows], end), wanted[rows]) / spread

        return loss_of


class ImageInversion(ConceptInversion):
    """Learn the token from images of the concept generated by the base model, as published."""

    name: ClassVar[str] = "inversion_images"
    default_budget: ClassVar[int] = 100
    source: ClassVar[str] = "Pham et al., ICLR 2024, on images of the base model; 5,000 steps there."

    def make_loss(
        self, context: AttackContext, encoder: int, pairs: list[tuple[str, str]], token: int, budget: AttackBudget
    ) -> LossFunction:
        """Return the denoising loss under the prompt with the new token. Raises AttackNotApplicable."""
        context.after.check_states()
        specs = [ImageSpec(text, budget.seed) for text, _ in pairs]
        training_images = TrainingImages(
            context.before.encode_images(context.base_images(specs)),
            context.prompt_builder.token_ids([text for _, text in pairs]),
        )

        def loss_of(embedding: Tensor, generator: torch.Generator) -> Tensor:
            latents, ids = training_images.sample_batch(BATCH_SIZE, generator)
            with override_token_embedding(context.after.encoder, token, embedding):
                return denoising_loss(context.after, latents, context.after.encode_ids(ids), generator)

        return loss_of
