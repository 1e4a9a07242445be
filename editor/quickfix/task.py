"""What is asked of one site: the columns of the removals, the prompts to keep and those to measure by."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor

from editor.prompts import PromptBook, Removal, Tokenised, aligned_columns
from editor.prompts.concepts import Kind
from editor.prompts.contexts import evenly
from editor.quickfix.attention import Places
from editor.quickfix.columns import ROLES, Columns, Retained, Site, joined, pair_columns, retained_columns, roles
from editor.quickfix.memory import FORGETFUL, Memory, remembered
from editor.quickfix.method import Method
from editor.quickfix.running import circumstances, keep, recall
from editor.quickfix.search import HeldOut, prompt_norms
from editor.quickfix.sums import Sums, fixed, unit_for

RETAIN_PROMPTS = 600
HELD_OUT_RETAIN = 96
HELD_OUT_PAIRS = 24
FEWEST_PAIRS = 4
"""Of each removal."""
SOME = 32
EMPHASIS: dict[Kind, float] = {"object": 1.0, "style": 2.0}
"""How much what is left of a concept counts in the search."""


def canonical(removals: Iterable[Removal]) -> tuple[Removal, ...]:
    """The order in which removals are looked at, whatever the order in which they came."""
    return tuple(sorted(removals, key=repr))


@dataclass(frozen=True)
class Task:
    """One site of one request."""

    site: Site
    book: PromptBook
    removals: tuple[Removal, ...]
    """In canonical order."""
    method: Method
    memory: Memory = FORGETFUL
    about: tuple[Removal, ...] = ()
    """Whose feasibility is told; empty for some."""

    def columns_of(self, removal: Removal) -> Columns:
        """The columns of one removal."""
        return pair_columns(self.site, self.book.edit_pairs(removal), self.method.aim)

    def sums_of(self, removal: Removal) -> Sums:
        """The same summed: depends on nothing but the removal and the original encoder."""
        columns = self.columns_of(removal)
        return fixed(columns.statistics(), self.unit, len(columns.keys))

    @cached_property
    def columns(self) -> Columns:
        """The columns of all removals."""
        return joined([self.columns_of(removal) for removal in self.removals])

    @cached_property
    def sums(self) -> Sums:
        """Their exact sums, starting from those that are remembered."""
        name, under = f"sums-{self.site}", circumstances(self.book, self.method.aim, str(ROLES), str(self.unit))
        before = recall(self.memory, name, under, len(self.site.weight), self.unit)
        now = before.changed_to(self.removals, self.sums_of)
        if now.removals != before.removals:
            keep(self.memory, name, under, now)
        return now.sums

    def is_small(self) -> bool:
        """Whether all columns and what is kept are fewer than the dimensions."""
        kept = sum(len(places) for prompt in self.kept_prompts for places, _ in roles(prompt))
        room = len(self.site.weight) - len(self.protected) - kept
        counts = (len(aligned_columns(p, ROLES)) for removal in self.removals for p in self.book.edit_pairs(removal))
        return room > 0 and all(count < room for count in accumulate(counts))

    @cached_property
    def kept_prompts(self) -> list[Tokenised]:
        """The prompts that no removal may change."""
        return self.book.tokenise_all(self.book.retain_texts(self.removals, RETAIN_PROMPTS))

    @cached_property
    def retained(self) -> Retained:
        """Their keys."""
        return retained_columns(self.site, self.kept_prompts)

    @property
    def preserved(self) -> Tensor:
        """Their keys' second moment, (d, d)."""
        ids = torch.stack([prompt.ids for prompt in self.kept_prompts])
        key = hashlib.sha256(ids.numpy().tobytes()).hexdigest()
        return remembered(self.memory, f"preserved-{self.site}", key, lambda: self.retained.moment)

    @property
    def some(self) -> list[Removal]:
        """So many of a long ledger's removals stand for all."""
        return evenly(self.removals, SOME)

    @cached_property
    def held_out_texts(self) -> list[str]:
        """Prompts to keep, in wordings that the edit does not see."""
        return self.book.held_out_retain(self.removals, HELD_OUT_RETAIN)

    @cached_property
    def held_out(self) -> HeldOut:
        """Prompts about the removals and prompts to keep, in wordings that the edit does not see."""
        each = max(HELD_OUT_PAIRS // len(self.some), FEWEST_PAIRS)
        pairs = [pair for removal in self.some for pair in self.book.held_out_pairs(removal, each)]
        targets = pair_columns(self.site, pairs, self.method.aim)
        retained = retained_columns(self.site, self.book.tokenise_all(self.held_out_texts))
        return HeldOut(targets, retained, prompt_norms(retained.keys @ self.site.weight.T, retained))

    @cached_property
    def null(self) -> Tensor:
        """Keys of the empty prompt, (context, d). Its first is BOS's, which is the same in every prompt."""
        return self.everywhere(self.book.tokenise(""))

    @cached_property
    def protected(self) -> Tensor:
        """Keys that no update may move: the empty prompt's, and those after BOS of each pinned prompt."""
        pins = self.book.tokenise_all([pin for pin in dict.fromkeys(self.method.pins) if pin])
        return torch.cat([self.null, *(self.everywhere(pin)[1:] for pin in pins)])

    def everywhere(self, prompt: Tokenised) -> Tensor:
        """Keys of every position of a prompt, (context, d)."""
        positions = torch.arange(len(prompt.ids))
        return self.site.keys(prompt.ids[None], Places(torch.zeros_like(positions), positions))

    @property
    def unit(self) -> float:
        """The unit of exact sums."""
        return unit_for(self.null)

    @property
    def emphasis(self) -> float:
        """How much what is left of the concepts counts, beside the drift."""
        return max(EMPHASIS[removal.concept.kind] for removal in self.removals)
