"""Concept inversion (Pham et al., ICLR 2024): a new token whose embedding is learned through the edited model, weights in hand.

Textual inversion (Gal et al., ICLR 2023) of the removed concept: the embedding of one token is all that is learned, and it
passes through the edited encoder. Once from images of the concept, by the denoising loss, as published; once without images, by
asking that the edited encoder read the token as the original encoder read the concept's name.
"""

from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from api_schemas.attacks import Access, AttackRecord
from editor.generation.config import ImageSpec
from editor.io.progress import ProgressCallback
from editor.judging.attacks.attack import AttackBudget
from editor.judging.attacks.concept_discriminant import concept_discriminant, summarize_states
from editor.judging.attacks.context import AttackContext, override_token_embedding
from editor.judging.attacks.diffusion_loss import TrainingImages, denoising_loss
from editor.judging.attacks.records import Candidate, make_attempts, make_record
from editor.prompts.templates import evenly

BATCH_SIZE = 4
TRAINING_PROMPTS = 16
"""That the token is learned in; it is tried in others."""
RELATIVE_LEARNING_RATE = 0.1
"""Of learning, in standard deviations of the encoder's token embeddings."""
LossFunction = Callable[[Tensor, torch.Generator], Tensor]
"""Embedding ``(d,)`` and randomness -> a batch's loss."""


def find_unused_token(scene: AttackContext) -> tuple[int, str]:
    """A whole-word token that none of the prompts at hand holds, and its text: the place of the new token."""
    tokenizer, vocabulary = scene.book.tokenizer, scene.book.tokenizer.get_vocab()
    prompts = [phrase.text() for phrase in (*scene.spoken, *scene.others)]
    used = {token for known in scene.book.tokens.encode(prompts) for token in known.ids}
    free = [token for token in vocabulary if token.endswith("</w>") and token[:-4].isalpha() and token.isascii()]
    word = next(token for token in sorted(free, reverse=True) if vocabulary[token] not in used)
    assert tokenizer(word[:-4])["input_ids"][1:-1] == [vocabulary[word]]
    return vocabulary[word], word[:-4]


def learn_embedding(
    scene: AttackContext, loss_of: LossFunction, effort: AttackBudget, tick: ProgressCallback
) -> Tensor:
    """Adam from the mean embedding of the concept's own tokens; the embedding ``(d,)`` after ``effort.budget`` steps."""
    table = scene.after.painter.encoders[0].text_model.embeddings.token_embedding.weight.detach()
    own = scene.book.tokens.encode([scene.name])[0].ids[1:-1]
    embedding = table[own].mean(0).clone().requires_grad_()
    generator = torch.Generator().manual_seed(effort.seed)
    optimiser = torch.optim.Adam([embedding], lr=RELATIVE_LEARNING_RATE * float(table.std()))
    with torch.enable_grad():
        for step in range(effort.budget):
            (embedding.grad,) = torch.autograd.grad(loss_of(embedding, generator), [embedding])
            optimiser.step()
            tick(0.9 * (step + 1) / effort.budget)
    learned: Tensor = embedding.detach()
    return learned


class ConceptInversion:
    """Learn a token, then ask for it in prompts that it was not learned in."""

    name: ClassVar[str]
    access: ClassVar[Access] = "weights"
    unit: ClassVar[str] = "steps"
    default_budget: ClassVar[int]
    source: ClassVar[str]
    published_budget: ClassVar[int | None] = 5000
    tells: ClassVar[str] = (
        "A success says that the image half still can draw the concept once somebody hands it the right states: to be expected "
        "of any edit of the text encoder alone, for whoever holds the weights. It takes a new token, not a prompt."
    )

    def run(self, scene: AttackContext, effort: AttackBudget, tick: ProgressCallback) -> AttackRecord:
        """Attack."""
        token, word = find_unused_token(scene)
        asked, known = (
            scene.spoken[: effort.images],
            evenly(scene.spoken[effort.images :] or scene.spoken, TRAINING_PROMPTS),
        )
        said = [(phrase.text(), scene.asked(phrase, word)) for phrase in known]
        embedding = learn_embedding(scene, self.loss(scene, said, token, effort), effort, tick)
        texts = [scene.asked(phrase, word) for phrase in asked]
        ids = scene.book.ids(texts)
        with override_token_embedding(scene.after.encoder, token, embedding), torch.no_grad():
            states = scene.after.encode(ids)
        likenesses = concept_discriminant(scene).of(states, ids).tolist()
        chosen = [Candidate(scene.asked(phrase, "<learned>"), effort.seed, like)
                  for phrase, like in zip(asked, likenesses, strict=True)]  # fmt: skip
        images = scene.after.draw(states, [effort.seed] * len(states))
        made = make_attempts(scene, chosen, images)
        return make_record(self, scene, effort, made, spent=effort.budget, tried=1)

    def loss(self, scene: AttackContext, said: list[tuple[str, str]], token: int, effort: AttackBudget) -> LossFunction:
        """What is learned by, from pairs of a prompt about the concept and the same with the new token."""
        raise NotImplementedError


class TextInversion(ConceptInversion):
    """The surrogate that needs no image: match the original encoder's states."""

    name: ClassVar[str] = "inversion_text"
    default_budget: ClassVar[int] = 60
    published_budget: ClassVar[int | None] = None
    source: ClassVar[str] = "Own surrogate of concept inversion in text space: match the states at EOS and padding."

    def loss(self, scene: AttackContext, said: list[tuple[str, str]], token: int, effort: AttackBudget) -> LossFunction:
        """Mean squared distance of summaries, relative to their spread."""
        end, (spoken, new) = int(scene.book.tokenizer.eos_token_id), zip(*said, strict=True)
        wanted = summarize_states(scene.before.states(spoken), scene.book.ids(spoken), end)
        ids, spread = scene.book.ids(new), wanted.var(0).mean()

        def loss_of(embedding: Tensor, generator: torch.Generator) -> Tensor:
            rows = torch.randperm(len(ids), generator=generator)[:BATCH_SIZE]
            with override_token_embedding(scene.after.encoder, token, embedding):
                states = scene.after.encode(ids[rows])
            return F.mse_loss(summarize_states(states, ids[rows], end), wanted[rows]) / spread

        return loss_of


class ImageInversion(ConceptInversion):
    """As published, from images of the concept that the base model draws."""

    name: ClassVar[str] = "inversion_images"
    default_budget: ClassVar[int] = 100
    source: ClassVar[str] = "Pham et al., ICLR 2024, on images of the base model; 5,000 steps there."

    def loss(self, scene: AttackContext, said: list[tuple[str, str]], token: int, effort: AttackBudget) -> LossFunction:
        """The denoising loss under the prompt with the new token."""
        shots = [ImageSpec(spoken, effort.seed) for spoken, _ in said]
        pictures = TrainingImages(
            scene.before.latents(scene.before_images(shots)), scene.book.ids([new for _, new in said])
        )

        def loss_of(embedding: Tensor, generator: torch.Generator) -> Tensor:
            latents, ids = pictures.batch(BATCH_SIZE, generator)
            with override_token_embedding(scene.after.encoder, token, embedding):
                return denoising_loss(scene.after, latents, scene.after.encode(ids), generator)

        return loss_of
