"""The prompts of a request, tokenized for one text encoder: pairs to edit with, prompts to retain, held-out prompts."""

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import compress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from api_schemas.kinds import prompt_slot
from api_schemas.report import NameSource
from editor.checkpoints import Checkpoint, TextEncoder, open_checkpoint
from editor.checkpoints.tokenizers import open_prompt_tokenizers
from editor.errors import ConceptError
from editor.prompts.concepts import ConceptKind, Phrase, ResolvedRemoval, takes_article
from editor.prompts.name_expansion import GENERATED_WEIGHTS, ConceptName, NameExpansion, expand_names
from editor.prompts.phrase_samples import sample_varied
from editor.prompts.profile import Profile, load_profile
from editor.prompts.recombined_prompts import recombined_texts
from editor.prompts.retained_phrases import NO_LIMITS, retain_phrases, retained_names
from editor.prompts.templates import (
    WORDINGS_SEED,
    concept_contexts,
    diagonal_pairs,
    evenly_spaced,
    held_out_wordings,
)
from editor.prompts.token_alignment import PromptPair, TokenizedPrompt
from editor.prompts.tokenizer_cache import EncodedText, TokenizerCache

DIFF_QUICKFIX_PREFIXES = ("", "a photo of ", "an image of ", "a picture of ")
"""The four templates of the released Diff-QuickFix procedure."""
SPELLING_CONTEXTS = 4
"""Prompts with each spelling of a name."""
RECOMBINED_SHARE = 0.6
"""Share of the retain prompts of an edit that are recombined, at most one for each phrase."""


@dataclass(frozen=True)
class PromptBuilder:
    """Builds and tokenizes prompts for one text encoder."""

    tokenizer: Any
    profile: Profile

    @cached_property
    def tokenizer_cache(self) -> TokenizerCache:
        """The tokenizer with a cache of words."""
        return TokenizerCache(self.tokenizer)

    @property
    def context_length(self) -> int:
        """Number of tokens in an encoded prompt."""
        return int(self.tokenizer.model_max_length)

    # Tokens.

    def tokenize(self, text: str) -> TokenizedPrompt:
        """Encode a prompt as the pipeline does, with padding.

        Raises:
            ConceptError: the prompt does not fit the context.
        """
        return self.tokenize_all([text])[0]

    def tokenize_all(self, texts: Sequence[str]) -> list[TokenizedPrompt]:
        """Encode many prompts; see :meth:`tokenize`."""
        encoded, eos = self.tokenizer_cache.encode(texts), self.tokenizer.eos_token_id
        rows = zip(texts, self._pad(texts, encoded), encoded, strict=True)
        return [TokenizedPrompt(text, ids, known.ids.index(eos)) for text, ids, known in rows]

    def token_ids(self, texts: Sequence[str]) -> Tensor:
        """Return token ids ``(n, context)``; see :meth:`tokenize`."""
        return self._pad(texts, self.tokenizer_cache.encode(texts))

    def _pad(self, texts: Sequence[str], encoded: Sequence[EncodedText]) -> Tensor:
        """Return token ids ``(n, context)``, padded as this encoder's pipeline pads. Raises like :meth:`tokenize`."""
        length, pad = self.context_length, [int(self.tokenizer.pad_token_id)]
        for text, known in zip(texts, encoded, strict=True):
            if len(known.ids) > length:
                raise ConceptError(
                    f"The prompt {text!r} has {len(known.ids)} tokens; the model reads {length}.",
                    remedy="Shorten the concept, its aliases or its replacement.",
                )
        rows = [known.ids + pad * (length - len(known.ids)) for known in encoded]
        return torch.tensor(rows, dtype=torch.long).reshape(len(rows), length)

    def fits(self, text: str) -> bool:
        """Return whether a prompt fits the context."""
        return self._fit_flags([text])[0]

    def select_fitting(self, texts: Sequence[str]) -> list[str]:
        """Return the prompts that fit the context."""
        return list(compress(texts, self._fit_flags(texts)))

    def _fit_flags(self, texts: Sequence[str]) -> list[bool]:
        return [len(encoded.ids) <= self.context_length for encoded in self.tokenizer_cache.encode(texts)]

    # Pairs of a prompt about a concept and the prompt that it is mapped to.

    def edit_pairs(self, removal: ResolvedRemoval) -> list[PromptPair]:
        """Return prompts with every name of the concept, each paired with its destination, without excluded ones.

        Raises:
            ConceptError: no prompt with a name fits the context, or all are excluded.
        """
        named = (pair for name in self.expand(removal).names for pair in self.name_pairs(removal, name))
        pairs = [pair for pair in named if pair.concept.text not in removal.exclude_prompts]
        if not pairs:
            raise ConceptError(
                f"Every prompt about {removal.concept.name!r} is excluded.",
                field="exclude_prompts",
                remedy="Keep at least one of the prompts that the dry run lists.",
            )
        return [*pairs, *self.phrase_pairs(removal)]

    def expand(self, removal: ResolvedRemoval) -> NameExpansion:
        """Return every name that a removal covers."""
        return expand_names(removal, self.profile, self.tokenizer_cache)

    def name_pairs(self, removal: ResolvedRemoval, name: ConceptName) -> list[PromptPair]:
        """Return the pairs of one name. A plural or a spelling has only a few, and may have none that fit.

        Raises:
            ConceptError: no prompt with the name fits the context, and it is neither plural nor spelling.
        """
        phrases = self.contexts(kind_of_name(removal, name.source), name.text)
        if name.source in GENERATED_WEIGHTS:
            return self._fitting_pairs(removal, name, evenly_spaced(phrases, SPELLING_CONTEXTS))
        return self._require(name, self._fitting_pairs(removal, name, phrases))

    def phrase_pairs(self, removal: ResolvedRemoval) -> list[PromptPair]:
        """Return the pairs of the phrases that a removal adds to the contexts."""
        slot = prompt_slot(removal.concept.kind)
        return [
            pair
            for added in removal.phrases
            for pair in self._fitting_pairs(
                removal, ConceptName(getattr(added.phrase, slot), "concept"), [added.phrase], added.weight
            )
        ]

    def held_out_pairs(self, removal: ResolvedRemoval, limit: int = 24) -> list[PromptPair]:
        """Return distinct pairs in held-out wordings, for choosing the preservation weight.

        Raises:
            ConceptError: no such prompt fits the context.
        """
        name = ConceptName(removal.concept.subject, "concept")
        styled = [phrase for phrase in self.contexts(removal.concept.kind, name.text) if phrase.style]
        wordings = held_out_wordings(self.profile, removal.concept.kind)
        phrases = dict.fromkeys(in_wording(phrase, wording) for phrase, wording in diagonal_pairs(styled, wordings))
        return self._require(name, self._fitting_pairs(removal, name, [*phrases][:limit]))

    def diff_quickfix_pairs(self, removal: ResolvedRemoval) -> list[PromptPair]:
        """Return the pairs of the released Diff-QuickFix procedure: the bare names after four prefixes."""
        concept, destination = removal.concept.name, removal.destination.words
        texts = [(prefix + concept, (prefix if destination else "") + destination) for prefix in DIFF_QUICKFIX_PREFIXES]
        return self.make_pairs(removal.concept.subject, texts)

    def make_pair(self, subject: str, text: str, destination: str) -> PromptPair:
        """Tokenize a prompt and its destination, and locate the subject."""
        return self.make_pairs(subject, [(text, destination)])[0]

    def make_pairs(self, subject: str, texts: Sequence[tuple[str, str]], weight: float = 1.0) -> list[PromptPair]:
        """Make a pair of each prompt about ``subject`` and its destination."""
        concepts = self.tokenize_all([text for text, _ in texts])
        destinations = self.tokenize_all([destination for _, destination in texts])
        return [
            PromptPair(concept, destination, *self.subject_span(concept.text, subject), weight)
            for concept, destination in zip(concepts, destinations, strict=True)
        ]

    def subject_span(self, text: str, subject: str) -> tuple[int, int]:
        """Return the first and last token of the last whole-word occurrence of ``subject`` in ``text``."""
        return self.tokenizer_cache.encode([text])[0].tokens_covering(*name_spans(subject, text)[-1])

    def _fitting_pairs(
        self, removal: ResolvedRemoval, name: ConceptName, phrases: Iterable[Phrase], weight: float | None = None
    ) -> list[PromptPair]:
        """Make a pair of each phrase that fits the context on both sides and contains the name exactly once.

        Args:
            weight: weight of all pairs together; None for that of the name.
        """
        texts = [(phrase.text(), destination_text(phrase, removal, name.source)) for phrase in phrases]
        once = [(text, destination) for text, destination in texts if len(name_spans(name.text, text)) == 1]
        sides = ([text for text, _ in once], [destination for _, destination in once])
        fit = zip(*map(self._fit_flags, sides), strict=True)
        fitting = list(compress(once, map(all, fit)))
        total = removal.weight * (name.weight if weight is None else weight)
        return self.make_pairs(name.text, fitting, total / max(len(fitting), 1))

    def _require(self, name: ConceptName, pairs: list[PromptPair]) -> list[PromptPair]:
        """Return the pairs; raise ConceptError if there are none."""
        if not pairs:
            raise ConceptError(
                f"No prompt about {name.text!r} fits the {self.context_length} tokens that the model reads.",
                remedy="Shorten the concept, its aliases or its replacement.",
            )
        return pairs

    # Phrases.

    def contexts(self, kind: ConceptKind, name: str) -> list[Phrase]:
        """Return the phrases in which an edit uses a name."""
        if kind not in self._templates:
            self._templates[kind] = concept_contexts(self.profile, kind, "")
        return [phrase.about(kind, name) for phrase in self._templates[kind]]

    @cached_property
    def _templates(self) -> dict[ConceptKind, list[Phrase]]:
        return {}

    def in_held_out_wordings(self, phrases: Iterable[Phrase], kind: ConceptKind = "object") -> list[Phrase]:
        """Return the same subjects in wordings that no edit uses, picked at random: styles recur with a period of their own."""
        wordings, generator = held_out_wordings(self.profile, kind), random.Random(WORDINGS_SEED)
        return [in_wording(phrase, generator.choice(wordings)) for phrase in phrases]

    # Prompts to retain.

    def retained_names(self, kind: ConceptKind, removals: Sequence[ResolvedRemoval]) -> list[str]:
        """Return the names of a kind that no removal covers; see :func:`editor.prompts.retained_phrases.retained_names`."""
        return retained_names(self.profile, kind, removals)

    def retain_phrases(
        self, removals: Sequence[ResolvedRemoval], limits: Mapping[ConceptKind, int] = NO_LIMITS
    ) -> tuple[Phrase, ...]:
        """Return the phrases that no removal concerns; see :func:`editor.prompts.retained_phrases.retain_phrases`."""
        return retain_phrases(self.profile, removals, limits)

    def retain_texts(self, phrases: Sequence[Phrase], limit: int) -> list[str]:
        """Return at most ``limit`` prompts of :meth:`retain_phrases`, all negative prompts among them.

        A share of them are recombined, so that what is preserved does not depend on the wordings; so are those in place of
        prompts that do not fit the context.
        """
        negative = [phrase for phrase in phrases if not phrase.object]
        named = [phrase for phrase in phrases if phrase.object]
        recombined = min(round(RECOMBINED_SHARE * limit), len(named))
        sampled = evenly_spaced(named, max(limit - len(negative) - recombined, 0)) + negative
        texts = self.select_fitting([phrase.text() for phrase in sampled])
        return texts + self.select_fitting(recombined_texts(named, min(limit - len(texts), len(named))))

    def held_out_retain_texts(self, phrases: Sequence[Phrase], limit: int = 96) -> list[str]:
        """Return at most ``limit`` prompts of :meth:`retain_phrases` that name a style, in held-out wordings."""
        styled = sample_varied((phrase for phrase in phrases if phrase.style), limit)
        return self.select_fitting([phrase.text() for phrase in self.in_held_out_wordings(styled)])


def name_spans(name: str, text: str) -> list[tuple[int, int]]:
    """Return the character spans of the whole-word occurrences of ``name`` in ``text``, ignoring case."""
    return [match.span() for match in whole_word_pattern(name).finditer(text)]


@lru_cache(maxsize=256)
def whole_word_pattern(name: str) -> re.Pattern[str]:
    """Return a pattern of ``name`` that is not part of a longer word."""
    return re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)


def kind_of_name(removal: ResolvedRemoval, source: NameSource) -> ConceptKind:
    """Return the kind that prompts use a name as: the title of a work in a removed style is an object."""
    return "object" if source == "title" else removal.concept.kind


def in_wording(phrase: Phrase, wording: str) -> Phrase:
    """Return the same subject in another wording, without surroundings."""
    style = phrase.style if "{style}" in wording else ""
    return replace(phrase, wording=wording, style=style, prefix="", suffix="")


def destination_text(phrase: Phrase, removal: ResolvedRemoval, source: NameSource = "concept") -> str:
    """Return the prompt that a phrase is mapped to: with the destination's words, or without its object.

    The title of a work becomes a picture in the destination style.
    """
    words, kind = removal.destination.words, kind_of_name(removal, source)
    composed = {one.name: one.words for one in removal.composed}
    if removal.concept.kind == "style":
        composed[removal.concept.subject] = removal.destination.words
    if kind == "style":
        styled, thing = replace(phrase, style=words), composed.get(phrase.object, phrase.object)
        return styled.text() if thing == phrase.object else with_object(styled, thing, "object")
    if removal.concept.kind == "style" and words:
        words = f"picture in the style of {words}"
    return with_object(replace(phrase, style=composed.get(phrase.style, phrase.style)), words, kind)


def with_object(phrase: Phrase, words: str, kind: ConceptKind) -> str:
    """Return a phrase about another object; for the null concept what is left of it: its style and what follows."""
    if words:
        return replace(phrase, object=words, verbatim=not takes_article(kind, words)).text()
    return ((f"in the style of {phrase.style}" if phrase.style else "") + phrase.suffix).strip(" ,")


def open_prompt_builder(model: Path, profile: Profile | None = None) -> PromptBuilder:
    """Return the prompt builder of a model's first text encoder; see :func:`open_prompt_builders`."""
    return open_prompt_builders(open_checkpoint(model), profile)[0]


def open_prompt_builders(checkpoint: Checkpoint, profile: Profile | None = None) -> list[PromptBuilder]:
    """Return a prompt builder for each CLIP text encoder: the same prompts, tokenized and padded as its pipeline does.

    A model without CLIP has one builder.

    Args:
        checkpoint: the model.
        profile: used instead of the model's own.
    """
    used = profile or load_profile(checkpoint.path)
    return [PromptBuilder(tokenizer, used) for tokenizer in open_prompt_tokenizers(checkpoint)]


def pair_encoders(checkpoint: Checkpoint, builders: Sequence[PromptBuilder]) -> list[tuple[TextEncoder, PromptBuilder]]:
    """Return each CLIP text encoder with its prompt builder; none for a model without CLIP, whose builder is alone."""
    return list(zip(checkpoint.encoders, builders, strict=bool(checkpoint.encoders)))
