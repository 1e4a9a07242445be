"""What is asked of one site: the columns of the removals, the prompts to keep and those to measure by."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor

from editor.prompts import Pair, PromptBook, Removal, Tokenised
from editor.prompts.concepts import Kind
from editor.prompts.contexts import evenly
from editor.quickfix.attention import Places
from editor.quickfix.columns import (
    PADDING_COLUMNS,
    ROLES,
    Columns,
    Retained,
    Site,
    pair_columns,
    retained_columns,
    roles,
)
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

    @cached_property
    def columns(self) -> Columns:
        """The columns of all removals."""
        return pair_columns(self.site, list(self.pairs()), self.method.aim)

    def sums_of(self, removal: Removal) -> Sums:
        """Those of one removal, summed. Matrix products round by the shape of the batch, so each is computed apart."""
        columns = pair_columns(self.bare.apart(), self.book.edit_pairs(removal), self.method.aim)
        return fixed(columns.statistics(), self.unit, len(columns.keys))

    @cached_property
    def bare(self) -> Site:
        """The site with the empty prompt's rows projected and no others: the same for every removal."""
        site = self.site.bare()
        everywhere_keys(site, self.book.tokenise(""))
        return site

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
        if room <= len(self.removals):
            return False
        return all(count < room for count in accumulate(map(most_columns, self.pairs())))

    def pairs(self) -> Iterator[Pair]:
        """Those of every removal."""
        return (pair for removal in self.removals for pair in self.book.edit_pairs(removal))

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
        owned = [(i, pair) for i, one in enumerate(self.some) for pair in self.book.held_out_pairs(one, each)]
        targets = pair_columns(self.site, [pair for _, pair in owned], self.method.aim)
        owners = torch.tensor([owner for owner, _ in owned])[targets.pairs]
        retained = retained_columns(self.site, self.book.tokenise_all(self.held_out_texts))
        return HeldOut(targets, owners, retained, prompt_norms(retained.keys @ self.site.weight.T, retained))

    @cached_property
    def null(self) -> Tensor:
        """Keys of the empty prompt, (context, d). Its first is BOS's, which is the same in every prompt."""
        return everywhere_keys(self.site, self.book.tokenise(""))

    @cached_property
    def protected(self) -> Tensor:
        """Keys that no update may move: the empty prompt's, and those after BOS of each pinned prompt."""
        pins = self.book.tokenise_all([pin for pin in dict.fromkeys(self.method.pins) if pin])
        return torch.cat([self.null, *(everywhere_keys(self.site, pin)[1:] for pin in pins)])

    @cached_property
    def unit(self) -> float:
        """The unit of exact sums."""
        return unit_for(self.null)

    @property
    def emphasis(self) -> float:
        """How much what is left of the concepts counts, beside the drift."""
        return max(EMPHASIS[removal.concept.kind] for removal in self.removals)


def everywhere_keys(site: Site, prompt: Tokenised) -> Tensor:
    """Keys of every position of a prompt, (context, d)."""
    positions = torch.arange(len(prompt.ids))
    return site.keys(prompt.ids[None], Places(torch.zeros_like(positions), positions))


def most_columns(pair: Pair) -> int:
    """As many columns as a pair may have."""
    return pair.concept.eos - pair.last_subject + 1 + PADDING_COLUMNS
