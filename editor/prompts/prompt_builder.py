"""The prompts of one request: pairs to edit with, prompts to keep, prompts held out, all tokenised for one model."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import compress, cycle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from api_schemas.conflicts import normalize_words, subsequences
from api_schemas.report import NameSource
from editor.checkpoints import Checkpoint, open_checkpoint
from editor.checkpoints.tokenizers import open_tokenizer
from editor.errors import ConceptError
from editor.prompts.concepts import Kind, Phrase, Removal
from editor.prompts.name_expansion import Expansion, Name, expand
from editor.prompts.profile import Profile, load_profile
from editor.prompts.templates import contexts, evenly, kept_phrases
from editor.prompts.token_alignment import Pair, Tokenised
from editor.prompts.tokenizer_cache import Encoded, Tokens

PAPER_PREFIXES = ("", "a photo of ", "an image of ", "a picture of ")
"""The four templates of the released Diff-QuickFix procedure."""
SPELLING_CONTEXTS = 4
"""Prompts that a spelling is edited in."""


@dataclass(frozen=True)
class PromptBook:
    """A tokenizer and a profile."""

    tokenizer: Any
    profile: Profile

    @cached_property
    def tokens(self) -> Tokens:
        """The tokenizer with a memory."""
        return Tokens(self.tokenizer)

    @property
    def context(self) -> int:
        """Tokens in an encoded prompt."""
        return int(self.tokenizer.model_max_length)

    def tokenise(self, text: str) -> Tokenised:
        """Encode as the pipeline does: padded, EOS first found.

        Raises:
            ConceptError: the prompt does not fit the context.
        """
        return self.tokenise_all([text])[0]

    def tokenise_all(self, texts: Sequence[str]) -> list[Tokenised]:
        """Many at once; see :meth:`tokenise`."""
        encoded, end = self.tokens.encode(texts), self.tokenizer.eos_token_id
        rows = zip(texts, self.padded(texts, encoded), encoded, strict=True)
        return [Tokenised(text, ids, known.ids.index(end)) for text, ids, known in rows]

    def ids(self, texts: Sequence[str]) -> Tensor:
        """``(n, context)`` token ids; see :meth:`tokenise`."""
        return self.padded(texts, self.tokens.encode(texts))

    def padded(self, texts: Sequence[str], encoded: Sequence[Encoded]) -> Tensor:
        """``(n, context)`` token ids, padded as this encoder's pipeline pads. Raises as :meth:`tokenise`."""
        context, pad = self.context, [int(self.tokenizer.pad_token_id)]
        for text, known in zip(texts, encoded, strict=True):
            if len(known.ids) > context:
                raise ConceptError(
                    f"The prompt {text!r} takes {len(known.ids)} tokens; the model reads {context}.",
                    remedy="Shorten the concept, its aliases or its replacement.",
                )
        rows = [known.ids + pad * (context - len(known.ids)) for known in encoded]
        return torch.tensor(rows, dtype=torch.long).reshape(len(rows), context)

    def subject_span(self, text: str, subject: str) -> tuple[int, int]:
        """First and last token of the last whole-word occurrence of ``subject`` in ``text``."""
        return self.tokens.encode([text])[0].covering(*places_of(subject, text)[-1])

    def pair(self, subject: str, text: str, destination: str) -> Pair:
        """Tokenise both sides and find the subject."""
        return self.pairs(subject, [(text, destination)])[0]

    def pairs(self, subject: str, texts: Sequence[tuple[str, str]], weight: float = 1.0) -> list[Pair]:
        """A pair for each prompt about ``subject`` and the prompt that it shall mean."""
        concepts = self.tokenise_all([text for text, _ in texts])
        destinations = self.tokenise_all([meant for _, meant in texts])
        return [
            Pair(concept, destination, *self.subject_span(concept.text, subject), weight)
            for concept, destination in zip(concepts, destinations, strict=True)
        ]

    def fits(self, text: str) -> bool:
        """Whether a prompt's tokens fit the context."""
        return self.all_fit([text])[0]

    def all_fit(self, texts: Sequence[str]) -> list[bool]:
        """Whether each prompt's tokens fit the context."""
        return [len(encoded.ids) <= self.context for encoded in self.tokens.encode(texts)]

    def fitting(self, texts: Sequence[str]) -> list[str]:
        """The prompts whose tokens fit the context."""
        return list(compress(texts, self.all_fit(texts)))

    def contexts(self, kind: Kind, name: str) -> list[Phrase]:
        """The phrases that an edit names a concept in."""
        if kind == "style":
            return [Phrase(p.wording, p.object, name, p.suffix, p.prefix) for p in self.style_blanks]
        return [Phrase(p.wording, name, p.style, p.suffix, p.prefix) for p in self.object_blanks]

    @cached_property
    def object_blanks(self) -> list[Phrase]:
        """An object's contexts, without the object."""
        return contexts(self.profile, "object", "")

    @cached_property
    def style_blanks(self) -> list[Phrase]:
        """A style's contexts, without the style."""
        return contexts(self.profile, "style", "")

    def expand(self, removal: Removal) -> Expansion:
        """Return every name that a removal covers."""
        return expand(removal, self.profile, self.tokens)

    def edit_pairs(self, removal: Removal) -> list[Pair]:
        """Prompts that name the concept in any way, each with what it shall mean."""
        return [pair for name in self.expand(removal).names for pair in self.name_pairs(removal, name)]

    def name_pairs(self, removal: Removal, name: Name) -> list[Pair]:
        """Prompts about one name; a spelling has a few, and may have none that fit.

        Raises:
            ConceptError: no prompt about a name that is no spelling fits the context.
        """
        phrases = self.contexts(named_kind(removal, name.source), name.text)
        if name.source == "spelling":
            return self.fitting_pairs(removal, name, evenly(phrases, SPELLING_CONTEXTS))
        pairs = self.fitting_pairs(removal, name, phrases)
        if not pairs:
            raise self.too_long(name.text)
        return pairs

    def fitting_pairs(self, removal: Removal, name: Name, phrases: Iterable[Phrase]) -> list[Pair]:
        """A pair for each phrase that fits the context on both sides and names the concept once."""
        texts = [(phrase.text(), destination_text(phrase, removal, name.source)) for phrase in phrases]
        once = [(text, meant) for text, meant in texts if len(places_of(name.text, text)) == 1]
        fit = zip(self.all_fit([text for text, _ in once]), self.all_fit([meant for _, meant in once]), strict=True)
        fitting = list(compress(once, map(all, fit)))
        return self.pairs(name.text, fitting, name.weight / max(len(fitting), 1))

    def too_long(self, name: str) -> ConceptError:
        """The error when no prompt is left."""
        return ConceptError(
            f"No prompt about {name!r} fits the {self.context} tokens that the model reads.",
            remedy="Shorten the concept, its aliases or its replacement.",
        )

    def paper_pairs(self, removal: Removal) -> list[Pair]:
        """The released procedure: the bare strings behind four prefixes."""
        concept = removal.concept.name
        destination = removal.destination.words
        return [
            self.pair(removal.concept.subject, prefix + concept, (prefix if destination else "") + destination)
            for prefix in PAPER_PREFIXES
        ]

    def kept_names(self, removals: Sequence[Removal]) -> tuple[list[str], list[str]]:
        """Objects and styles that no removal names, with those that the request asks to preserve."""
        removed = {name.lower() for removal in removals for name in removal.given}
        extra = {kind: asked_to_keep(removals, kind) for kind in ("object", "style")}
        objects = [*extra["object"], *self.profile.object_names]
        styles = [*extra["style"], *self.profile.styles]
        return (
            [name for name in dict.fromkeys(objects) if name.lower() not in removed],
            [name for name in dict.fromkeys(styles) if name.lower() not in removed],
        )

    def retain_texts(self, removals: Sequence[Removal], limit: int) -> list[str]:
        """Prompts that no removal may change: every kept object, plain and in every kept style; wordings take turns."""
        return self.fitting([phrase.text() for phrase in evenly(self.retained(removals), limit)])

    def retained(self, removals: Sequence[Removal]) -> tuple[Phrase, ...]:
        """Kept objects, plain and in kept styles, in surroundings that name nothing removed."""
        return self.lately_retained(tuple(removals))

    @cached_property
    def lately_retained(self) -> Callable[[tuple[Removal, ...]], tuple[Phrase, ...]]:
        """:meth:`find_retained` with its last answer at hand: an edit asks twice."""
        return lru_cache(maxsize=1)(self.find_retained)

    def find_retained(self, removals: tuple[Removal, ...]) -> tuple[Phrase, ...]:
        """See :meth:`retained`."""
        phrases = list(kept_phrases(self.profile, *self.kept_names(removals)))
        removed = {normalize_words(name) for removal in removals for name in removal.given}
        longest = max(map(len, removed), default=0)
        surroundings = {phrase.around for phrase in phrases}
        calm = {text for text in surroundings if removed.isdisjoint(subsequences(normalize_words(text), longest))}
        return tuple(phrase for phrase in phrases if phrase.around in calm)

    def held_out(self, phrases: Iterable[Phrase]) -> list[Phrase]:
        """The same subjects in wordings that no edit sees."""
        wordings = cycle(self.profile.held_out_wordings)
        return [replace(phrase, wording=next(wordings), prefix="", suffix="") for phrase in phrases]

    def held_out_pairs(self, removal: Removal, limit: int = 24) -> list[Pair]:
        """Pairs in held-out wordings, to choose the preservation weight by."""
        name = Name(removal.concept.subject, "concept")
        styled = [phrase for phrase in self.contexts(removal.concept.kind, name.text) if phrase.style]
        pairs = self.fitting_pairs(removal, name, self.held_out(evenly(styled, limit)))
        if not pairs:
            raise self.too_long(name.text)
        return pairs

    def held_out_retain(self, removals: Sequence[Removal], limit: int = 96) -> list[str]:
        """Retain prompts in held-out wordings."""
        styled = [phrase for phrase in self.retained(removals) if phrase.style]
        return self.fitting([phrase.text() for phrase in self.held_out(evenly(styled, limit))])


def asked_to_keep(removals: Sequence[Removal], kind: str) -> list[str]:
    """The ``preserve`` lists of the removals of one kind."""
    return [name for removal in removals if removal.concept.kind == kind for name in removal.preserve]


def places_of(name: str, text: str) -> list[tuple[int, int]]:
    """Where ``name`` stands in ``text`` as whole words, whatever its case."""
    return [found.span() for found in whole_words(name).finditer(text)]


@lru_cache(maxsize=256)
def whole_words(name: str) -> re.Pattern[str]:
    """``name`` between other characters than letters and digits."""
    return re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)


def named_kind(removal: Removal, source: NameSource) -> Kind:
    """What prompts treat a name as: a work of a style is a thing."""
    return "object" if source == "title" else removal.concept.kind


def destination_text(phrase: Phrase, removal: Removal, source: NameSource = "concept") -> str:
    """The phrase as it shall be understood: with the destination's words, or with the null concept.

    A work becomes a picture in the style that takes the place of its own.
    """
    words = removal.destination.words
    if named_kind(removal, source) == "style":
        return replace(phrase, style=words).text()
    if removal.concept.kind == "style" and words:
        words = f"picture in the style of {words}"
    return replace(phrase, object=words).text() if words else ""


def open_book(model: Path) -> PromptBook:
    """The prompt book of a model's first text encoder."""
    return open_books(open_checkpoint(model))[0]


def open_books(checkpoint: Checkpoint) -> list[PromptBook]:
    """A prompt book for each text encoder: the same prompts, tokenised and padded as that encoder's pipeline does."""
    profile = load_profile(checkpoint.path)
    return [PromptBook(open_tokenizer(encoder), profile) for encoder in checkpoint.encoders]
