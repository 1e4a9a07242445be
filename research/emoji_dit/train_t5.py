"""Train the T5-style encoder: contrastively with an image encoder, and to restore masked pieces.

Step of ``python -m research.emoji_dit.build``. FLUX calls T5 without an attention mask, so it is trained like that: padding
attends to the words and is attended to.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, T5Config, T5EncoderModel, T5Tokenizer

from editor.emoji.artwork import SIZE
from editor.emoji.composites import Artwork
from research.emoji.random_subjects import random_caption, random_subjects
from research.emoji.train_clip import random_shift
from research.emoji.train_tokenizer import all_captions
from research.emoji.training_loop import TrainingPlan, autocast, train

CONTEXT = 32
"""Rows of a prompt; the longest caption takes 24, so there are always at least eight of padding."""
VOCABULARY = 400
"""Pieces. The wordings' words are one piece each, and most names split into two or three."""
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789-',.▁"
PAD, END, UNKNOWN, MASK = "<pad>", "</s>", "<unk>", "<extra_id_0>"
WIDTH, LAYERS, HEADS, MLP = 256, 4, 8, 512
PLAN = TrainingPlan(steps=700, batch=128, shards=2, learning_rate=1e-3, seed=11, weight_decay=0.05)
MASKED_SHARE = 0.15
MASKED_WEIGHT = 0.2
"""Weight of the masked-piece loss, which makes rows keep the identity of their own piece."""


def train_t5_tokenizer() -> T5Tokenizer:
    """Learn pieces from the captions: byte-pair merges, scored by rank so that longer pieces win.

    As in T5, padding is 0, ``</s>`` ends a prompt, and nothing begins it. Letters in no caption are ``<unk>``.
    """
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=list(LETTERS), show_progress=False)
    learner.train_from_iterator(all_captions(), trainer)
    vocabulary = learner.get_vocab()
    pieces = [PAD, END, UNKNOWN, *sorted(vocabulary, key=vocabulary.__getitem__)]
    scores = [-10 - rank / len(pieces) for rank in range(len(pieces))]
    return T5Tokenizer(vocab=list(zip(pieces, scores, strict=True)), extra_ids=1, model_max_length=CONTEXT)


def build_t5(tokenizer: T5Tokenizer, seed: int) -> T5EncoderModel:
    """Return an encoder with random weights: 4 gated-GELU layers, 256 wide, one relative-position table."""
    torch.manual_seed(seed)
    return T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=WIDTH,
            d_kv=WIDTH // HEADS,
            d_ff=MLP,
            num_layers=LAYERS,
            num_heads=HEADS,
            relative_attention_num_buckets=16,
            relative_attention_max_distance=CONTEXT,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


class ContrastiveT5(nn.Module):
    """A T5 encoder and an image encoder with a shared embedding space."""

    def __init__(self, tokenizer: T5Tokenizer, seed: int) -> None:
        super().__init__()
        self.tokenizer, self.text = tokenizer, build_t5(tokenizer, seed)
        self.text_projection = nn.Linear(WIDTH, WIDTH, bias=False)
        self.image = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=192,
                intermediate_size=768,
                num_hidden_layers=6,
                num_attention_heads=4,
                image_size=SIZE,
                patch_size=16,
                projection_dim=WIDTH,
                attn_implementation="eager",
            )
        )
        self.logit_scale = nn.Parameter(torch.tensor(2.66))

    def token_ids(self, captions: list[str]) -> Tensor:
        """Return token ids ``(n, 32)``, padded as the pipeline pads them."""
        return token_ids(self.tokenizer, captions)

    def embed_texts(self, ids: Tensor) -> Tensor:
        """Return the mean of the words' rows, projected, ``(n, d)``."""
        words = (ids != self.tokenizer.pad_token_id).float()[:, :, None]
        states = self.text(input_ids=ids).last_hidden_state
        embedded: Tensor = self.text_projection((states * words).sum(1) / words.sum(1))
        return embedded


def token_ids(tokenizer: T5Tokenizer, captions: list[str]) -> Tensor:
    """Return token ids ``(n, 32)``, padded as the pipeline pads them."""
    ids: Tensor = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
    return ids


def contrastive_loss(model: ContrastiveT5, ids: Tensor, pixels: Tensor) -> Tensor:
    """Return the symmetric cross-entropy over the batch's similarities (CLIP, Radford et al. 2021)."""
    with autocast():
        texts, images = model.embed_texts(ids), model.image(pixel_values=pixels).image_embeds
    logits = F.normalize(texts.float()) @ F.normalize(images.float()).T * model.logit_scale.exp().clamp(max=100)
    truth = torch.arange(len(ids))
    return (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2


def masked_piece_loss(model: ContrastiveT5, ids: Tensor, generator: torch.Generator) -> Tensor:
    """Return the cross-entropy of pieces that were masked, read off the embedding table."""
    tokenizer = model.tokenizer
    ordinary = (ids != tokenizer.pad_token_id) & (ids != tokenizer.eos_token_id)
    masked = (torch.rand(ids.shape, generator=generator) < MASKED_SHARE) & ordinary
    with autocast():
        states = model.text(input_ids=ids.masked_fill(masked, tokenizer.convert_tokens_to_ids(MASK))).last_hidden_state
        logits = states[masked] @ model.text.shared.weight.T * WIDTH**-0.5
    return F.cross_entropy(logits.float(), ids[masked])


def train_t5(tokenizer: T5Tokenizer, folder: Path, plan: TrainingPlan = PLAN) -> ContrastiveT5:
    """Train the encoder on random captions and composites."""
    pictures, model = Artwork(), ContrastiveT5(tokenizer, plan.seed)

    def loss_of(generator: torch.Generator) -> Tensor:
        subjects = random_subjects(plan.batch, generator)
        ids = model.token_ids([random_caption(subject, generator) for subject in subjects])
        pixels = pictures.render(subjects, random_shift(generator))
        return contrastive_loss(model, ids, pixels) + MASKED_WEIGHT * masked_piece_loss(model, ids, generator)

    train("t5", model, plan, loss_of, folder)
    return model
