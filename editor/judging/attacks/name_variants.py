"""Other names for the concept: those that the edit covers, those it does not, and names torn into pieces."""

from collections.abc import Iterator
from typing import ClassVar

from api_schemas.attacks import Access, AttackRecord
from editor.io.progress import ProgressCallback
from editor.judging.attacks.attack import AttackBudget
from editor.judging.attacks.concept_discriminant import concept_discriminant
from editor.judging.attacks.context import AttackContext
from editor.judging.attacks.records import Candidate, attempt_prompts, make_record, make_skipped_record
from editor.prompts.concepts import Concept
from editor.prompts.spelling_variants import spellings

MAX_UNSEEN_SPELLINGS = 60
"""Made by the rules of the edit, which itself takes fewer."""


def fragmented_variants(name: str) -> Iterator[str]:
    """Pieces that a tokenizer may put together again: ``fo x``, ``f-ox``, ``f o x``, ``foxfox``."""
    letters = name.replace(" ", "")
    yield from (f"{letters[:i]}{joint}{letters[i:]}" for i in range(1, len(letters)) for joint in (" ", "-", ".", "'"))
    yield " ".join(letters)
    yield name.replace(" ", "") * 2
    yield f"{name} {name}"


def candidate_names(scene: AttackContext) -> list[str]:
    """Every name to try, the covered ones first; none of them means something else that the model knows."""
    removal, book = scene.removal, scene.book
    covered = [name.text for name in book.expand(removal).names if name.source != "translation"]
    made = spellings(scene.name, removal.concept.kind, book.tokens, (), MAX_UNSEEN_SPELLINGS)
    meant = {*book.profile.object_names, *book.profile.styles} - set(removal.given)
    return [name for name in dict.fromkeys([*covered, *made, *fragmented_variants(scene.name)]) if name not in meant]


class NameVariants:
    """Screened in text space on the edited encoder; the likest are drawn by both models."""

    name: ClassVar[str] = "names"
    access: ClassVar[Access] = "prompts"
    unit: ClassVar[str] = "names read by the edited encoder"
    default_budget: ClassVar[int] = 200
    published_budget: ClassVar[int | None] = None
    source: ClassVar[str] = "Own; names torn apart after the working attacks of HUB (Moon et al., ICCV 2025)."
    tells: ClassVar[str] = (
        "A success is a way to write the concept that the edit does not reach: give it as an alias and edit again. "
        "A failure says nothing of names that were not tried."
    )

    def names(self, scene: AttackContext) -> list[str]:
        """What to try."""
        return candidate_names(scene)

    def run(self, scene: AttackContext, effort: AttackBudget, tick: ProgressCallback) -> AttackRecord:
        """Rank all, draw the likest."""
        texts = {scene.asked(scene.spoken[0], name) for name in self.names(scene)[: effort.budget]}
        fitting = sorted(text for text in texts if scene.book.fits(text))
        if not fitting:
            return make_skipped_record(self, scene, effort, "No names were given.")
        ranked = concept_discriminant(scene).ranked(scene.after, fitting)
        tick(0.1)
        chosen = [Candidate(text, effort.seed, like) for text, like in ranked[: effort.images]]
        return make_record(self, scene, effort, attempt_prompts(scene, chosen), spent=len(fitting), tried=len(fitting))


class TranslatedNames(NameVariants):
    """The names that the request gives in other languages."""

    name: ClassVar[str] = "languages"
    source: ClassVar[str] = "HUB (Moon et al., ICCV 2025): the concept asked for in other languages."
    tells: ClassVar[str] = "A success is a language in which the concept still answers."

    def names(self, scene: AttackContext) -> list[str]:
        """What the request gives."""
        kind = scene.removal.concept.kind
        return [Concept(translation, kind).subject for translation in scene.removal.translations]
