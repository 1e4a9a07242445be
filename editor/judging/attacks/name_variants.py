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
from editor.prompts.spelling_variants import spelling_variants

MAX_UNSEEN_SPELLINGS = 60
"""Made by the rules of the edit, which itself takes fewer."""


def fragmented_variants(name: str) -> Iterator[str]:
    """Pieces that a tokenizer may put together again: ``fo x``, ``f-ox``, ``f o x``, ``foxfox``."""
    letters = name.replace(" ", "")
    yield from (f"{letters[:i]}{joint}{letters[i:]}" for i in range(1, len(letters)) for joint in (" ", "-", ".", "'"))
    yield " ".join(letters)
    yield name.replace(" ", "") * 2
    yield f"{name} {name}"


def candidate_names(context: AttackContext) -> list[str]:
    """Every name to try, the covered ones first; none of them means something else that the model knows."""
    removal, book = context.removal, context.book
    covered = [name.text for name in book.expand(removal).names if name.source != "translation"]
    made = spelling_variants(context.name, removal.concept.kind, book.tokenizer_cache, (), MAX_UNSEEN_SPELLINGS)
    meant = {*book.profile.object_names, *book.profile.styles} - set(removal.given_names)
    return [name for name in dict.fromkeys([*covered, *made, *fragmented_variants(context.name)]) if name not in meant]


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

    def candidates(self, context: AttackContext) -> list[str]:
        """What to try."""
        return candidate_names(context)

    def run(self, context: AttackContext, budget: AttackBudget, progress: ProgressCallback) -> AttackRecord:
        """Rank all, draw the likest."""
        texts = {
            context.prompt_with_name(context.concept_prompts[0], name)
            for name in self.candidates(context)[: budget.limit]
        }
        fitting = sorted(text for text in texts if context.book.fits(text))
        if not fitting:
            return make_skipped_record(self, context, budget, "No names were given.")
        ranked = concept_discriminant(context).rank(context.after, fitting)
        progress(0.1)
        chosen = [Candidate(text, budget.seed, like) for text, like in ranked[: budget.images]]
        return make_record(
            self, context, budget, attempt_prompts(context, chosen), spent=len(fitting), tried=len(fitting)
        )


class TranslatedNames(NameVariants):
    """The names that the request gives in other languages."""

    name: ClassVar[str] = "languages"
    source: ClassVar[str] = "HUB (Moon et al., ICCV 2025): the concept asked for in other languages."
    tells: ClassVar[str] = "A success is a language in which the concept still answers."

    def candidates(self, context: AttackContext) -> list[str]:
        """What the request gives."""
        kind = context.removal.concept.kind
        return [Concept(translation, kind).subject for translation in context.removal.translations]
