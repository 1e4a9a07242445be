"""The prompts of one request: pairs to edit with, prompts to keep, prompts held out, all tokenised for one model."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editor.errors import ConceptError
from editor.prompts.alignment import Pair, Tokenised
from editor.prompts.concepts import Kind, Phrase, Removal
from editor.prompts.profile import Profile, load_profile

PAPER_PREFIXES = ("", "a photo of ", "an image of ", "a picture of ")
"""The four templates of the released Diff-QuickFix procedure."""
CONTEXTS = 96
"""Objects around which a style is edited, at most."""


def evenly(items: Sequence[Any], limit: int) -> list[Any]:
    """At most ``limit`` of ``items``, spread over them all."""
    if len(items) <= limit:
        return list(items)
    return [items[i * len(items) // limit] for i in range(limit)]


@dataclass(frozen=True)
class PromptBook:
    """A tokenizer and a profile."""

    tokenizer: Any
    profile: Profile

    @property
    def context(self) -> int:
        """Tokens in an encoded prompt."""
        return int(self.tokenizer.model_max_length)

    def tokenise(self, text: str) -> Tokenised:
        """Encode as the pipeline does: padded, EOS first found.

        Raises:
            ConceptError: the prompt does not fit the context.
        """
        ids = self.tokenizer(text, padding="max_length")["input_ids"]
        if len(ids) > self.context:
            raise ConceptError(
                f"The prompt {text!r} takes {len(ids)} tokens; the model reads {self.context}.",
                remedy="Shorten the concept, its aliases or its replacement.",
            )
        return Tokenised(text, torch.tensor(ids), ids.index(self.tokenizer.eos_token_id))

    def last_subject(self, text: str, subject: str) -> int:
        """Position of the last token of the last whole-word occurrence of ``subject`` in ``text``."""
        matches = list(re.finditer(rf"(?<!\w){re.escape(subject)}(?!\w)", text, re.IGNORECASE))
        end = matches[-1].end()
        offsets = self.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
        return max(i for i, (start, stop) in enumerate(offsets) if start < end <= stop)

    def pair(self, subject: str, text: str, destination: str) -> Pair:
        """Tokenise both sides and find the subject."""
        return Pair(self.tokenise(text), self.tokenise(destination), self.last_subject(text, subject))

    def fits(self, text: str) -> bool:
        """Whether a prompt's tokens fit the context."""
        return len(self.tokenizer(text)["input_ids"]) <= self.context

    def fitting_pairs(self, removal: Removal, name: str, phrases: Iterable[Phrase]) -> list[Pair]:
        """A pair for each phrase that fits the context on both sides.

        Raises:
            ConceptError: none does.
        """
        texts = [(phrase.text(), destination_text(phrase, removal)) for phrase in phrases]
        pairs = [self.pair(name, text, meant) for text, meant in texts if self.fits(text) and self.fits(meant)]
        if not pairs:
            raise ConceptError(
                f"No prompt about {name!r} fits the {self.context} tokens that the model reads.",
                remedy="Shorten the concept, its aliases or its replacement.",
            )
        return pairs

    def contexts(self, kind: Kind, name: str) -> Iterator[Phrase]:
        """The phrases that an edit names a concept in."""
        return self.object_contexts(name) if kind == "object" else self.style_contexts(name)

    def edit_pairs(self, removal: Removal) -> list[Pair]:
        """Prompts that name the concept or an alias, each with what it shall mean."""
        kind = removal.concept.kind
        return [p for name in removal.names for p in self.fitting_pairs(removal, name, self.contexts(kind, name))]

    def object_contexts(self, name: str) -> Iterator[Phrase]:
        """The object alone in every plain wording, and in every style and wording; suffixes take turns."""
        profile = self.profile
        yield from (
            Phrase(wording, name, "", s) for wording, s in product(profile.plain_wordings, profile.suffixes[:2])
        )
        suffixes = cycle(profile.suffixes)
        for wording, style in product(profile.styled_wordings, profile.styles):
            yield Phrase(wording, name, style)
            yield Phrase(wording, name, style, next(suffixes))

    def style_contexts(self, name: str) -> Iterator[Phrase]:
        """The style around many objects; wordings and suffixes take turns."""
        profile = self.profile
        wordings, suffixes = cycle(profile.styled_wordings), cycle(profile.suffixes)
        for thing in evenly(profile.object_names, CONTEXTS):
            yield Phrase(next(wordings), thing, name)
            yield Phrase(next(wordings), thing, name, next(suffixes))

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
        removed = {name.lower() for removal in removals for name in removal.names}
        extra = {kind: asked_to_keep(removals, kind) for kind in ("object", "style")}
        objects = [*extra["object"], *self.profile.object_names]
        styles = [*extra["style"], *self.profile.styles]
        return (
            [name for name in dict.fromkeys(objects) if name.lower() not in removed],
            [name for name in dict.fromkeys(styles) if name.lower() not in removed],
        )

    def retain_texts(self, removals: Sequence[Removal], limit: int) -> list[str]:
        """Prompts that no removal may change: every kept object, plain and in every kept style; wordings take turns."""
        objects, styles = self.kept_names(removals)
        texts = [phrase.text() for phrase in self.kept_phrases(objects, styles)]
        return [text for text in evenly(texts, limit) if self.fits(text)]

    def kept_phrases(self, objects: list[str], styles: list[str]) -> Iterator[Phrase]:
        """The grid behind :meth:`retain_texts`."""
        profile = self.profile
        plain, styled, suffixes = cycle(profile.plain_wordings), cycle(profile.styled_wordings), cycle(profile.suffixes)
        for thing in objects:
            yield Phrase(next(plain), thing, "", next(suffixes))
            yield from (Phrase(next(styled), thing, style, next(suffixes)) for style in styles)

    def held_out(self, phrases: Iterable[Phrase]) -> list[Phrase]:
        """The same subjects in wordings that no edit sees."""
        wordings = cycle(self.profile.held_out_wordings)
        return [replace(phrase, wording=next(wordings), suffix="") for phrase in phrases]

    def held_out_pairs(self, removal: Removal, limit: int = 24) -> list[Pair]:
        """Pairs in held-out wordings, to choose the preservation weight by."""
        name = removal.concept.subject
        styled = [phrase for phrase in self.contexts(removal.concept.kind, name) if phrase.style]
        return self.fitting_pairs(removal, name, self.held_out(evenly(styled, limit)))

    def held_out_retain(self, removals: Sequence[Removal], limit: int = 96) -> list[str]:
        """Retain prompts in held-out wordings."""
        objects, styles = self.kept_names(removals)
        styled = [phrase for phrase in self.kept_phrases(objects, styles) if phrase.style]
        return [text for text in (p.text() for p in self.held_out(evenly(styled, limit))) if self.fits(text)]

    def ids(self, texts: Sequence[str]) -> Tensor:
        """``(n, context)`` token ids."""
        return torch.stack([self.tokenise(text).ids for text in texts])


def asked_to_keep(removals: Sequence[Removal], kind: str) -> list[str]:
    """The ``preserve`` lists of the removals of one kind."""
    return [name for removal in removals if removal.concept.kind == kind for name in removal.preserve]


def destination_text(phrase: Phrase, removal: Removal) -> str:
    """The phrase as it shall be understood: with the destination's words, or with the null concept."""
    words = removal.destination.words
    if removal.concept.kind == "style":
        return replace(phrase, style=words).text()
    return replace(phrase, object=words).text() if words else ""


def open_book(model_dir: Path) -> PromptBook:
    """The prompt book of a model in diffusers' folder layout."""
    from transformers import CLIPTokenizer

    return PromptBook(CLIPTokenizer.from_pretrained(model_dir / "tokenizer"), load_profile(model_dir))
