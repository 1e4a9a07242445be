"""What is asked of one site: the columns of the removals, the prompts to keep and those to measure by."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from operator import add

import torch
from torch import Tensor

from editor.prompts import Pair, PromptBook, Removal, Tokenised
from editor.prompts.concepts import Kind
from editor.prompts.templates import evenly
from editor.sites.clip_attention import Places
from editor.sites.key_value_pairs import PADDING_COLUMNS, ROLES, Site, pair_columns, retained_columns, roles
from editor.solver.config import Method
from editor.solver.fixed_point import Sums, fixed, unit_for
from editor.solver.incremental_statistics import circumstances, keep, recall
from editor.solver.least_squares import Statistics
from editor.solver.preservation_search import HeldOut, Stress
from editor.solver.regression import Columns, Retained
from editor.solver.subspaces import Beyond, beyond
from editor.solver.tensor_cache import FORGETFUL, Memory, remembered

RETAIN_PROMPTS = 600
HELD_OUT_RETAIN = 96
HELD_OUT_PAIRS = 24
FEWEST_PAIRS = 4
"""Of each removal."""
STAND_IN, LENGTHS = "x", (1, 2, 3)
"""What takes a concept's place where only the words around it matter, and how often: names are of one to three tokens."""
SAMPLES = 4
"""Prompts of each removal that its feasibility is told from, where there are many."""
EACH = 100
"""Removals that are looked at one by one, at most."""
SOME = 32
"""Removals that stand for all where there are more."""
TOGETHER = 8
"""Removals whose columns are in memory at a time."""
Owned = tuple[Removal, Pair]
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
        """The columns of all removals, of which there are few."""
        assert self.few is not None
        return pair_columns(self.site, [pair for _, pair in self.few], self.method.aim)

    def columns_under(self, stress: Stress) -> Columns:
        """The same where some removals count more."""
        assert self.few is not None
        times = torch.tensor([stress.get(owner, 1.0) for owner, _ in self.few])[self.columns.pairs]
        return replace(self.columns, weights=self.columns.weights * times)

    def sums_of(self, removal: Removal) -> Sums:
        """Those of one removal, summed. Matrix products round by the shape of the batch, so each is computed apart."""
        site, pairs = self.framed[removal.concept.kind].apart(), self.book.edit_pairs(removal)
        site.base.embedded(torch.stack([side.ids for pair in pairs for side in (pair.concept, pair.destination)]))
        columns = pair_columns(site, pairs, self.method.aim)
        return fixed(columns.statistics(), self.unit, len(columns.which))

    @cached_property
    def framed(self) -> dict[Kind, Site]:
        """The site with what stands around any concept of a kind projected, and nothing else: the same for every removal."""
        return {kind: self.framed_by(kind) for kind in {removal.concept.kind for removal in self.removals}}

    def framed_by(self, kind: Kind) -> Site:
        """The contexts of a kind around stand-ins for its concepts."""
        site, names = self.site.bare(), [" ".join([STAND_IN] * length) for length in LENGTHS]
        frames = [phrase.text() for name in names for phrase in self.book.contexts(kind, name)]
        site.base.embedded(self.book.ids(["", *self.book.fitting(frames)]))
        return site

    @cached_property
    def sums(self) -> Sums:
        """Their exact sums, starting from those that are remembered."""
        method = (self.method.aim, str(ROLES), str(self.unit), STAND_IN, str(LENGTHS))
        name, under = f"sums-{self.site}", circumstances(self.book, *method)
        before = recall(self.memory, name, under, self.site.base.source.width, self.unit)
        now = before.changed_to(self.removals, self.sums_of)
        if now.removals != before.removals:
            keep(self.memory, name, under, now)
        return now.sums

    def statistics_under(self, stress: Stress) -> Statistics:
        """All that removals add to the normal equations, where some count more.

        What these count more is added last, in canonical order, and needs no exact sums: it is of this very set.
        """
        ordered = canonical(stress)
        parts = (ordered[start : start + TOGETHER] for start in range(0, len(ordered), TOGETHER))
        return reduce(add, (self.emphasised(stress, part) for part in parts), self.sums.statistics)

    def emphasised(self, stress: Stress, removals: Sequence[Removal]) -> Statistics:
        """What some removals count beyond once."""
        pairs = list(owned(removals, self.book.edit_pairs))
        columns = pair_columns(self.site, [pair for _, pair in pairs], self.method.aim)
        extra = torch.tensor([stress[owner] - 1 for owner, _ in pairs])[columns.pairs]
        return replace(columns, weights=columns.weights * extra).statistics()

    @cached_property
    def few(self) -> list[Owned] | None:
        """Every pair, where all columns and what is kept are fewer than the dimensions; else None."""
        kept = sum(len(places) for prompt in self.kept_prompts for places, _ in roles(prompt))
        room = self.site.base.source.width - self.book.context * (1 + len(self.pins)) - kept
        if room <= len(self.removals):
            return None
        pairs = []
        for owner, pair in owned(self.removals, self.book.edit_pairs):
            room -= most_columns(pair)
            if room <= 0:
                return None
            pairs.append((owner, pair))
        return pairs

    @property
    def count(self) -> int:
        """Columns of all removals."""
        return self.sums.columns if self.few is None else len(self.columns.which)

    def samples(self) -> tuple[list[Removal], Columns]:
        """Columns to tell feasibility from, with the removal that each of their pairs is about."""
        if self.few is not None:
            return [owner for owner, _ in self.few], self.columns
        pairs = list(owned(self.told, lambda removal: evenly(self.book.edit_pairs(removal), SAMPLES)))
        return [owner for owner, _ in pairs], pair_columns(self.site, [pair for _, pair in pairs], self.method.aim)

    @property
    def told(self) -> Sequence[Removal]:
        """The removals whose feasibility is told."""
        return self.about or evenly(self.removals, SOME)

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
    def measured_each(self) -> bool:
        """Whether there are several removals, and few enough that each is looked at."""
        return 1 < len(self.removals) <= EACH

    @cached_property
    def some(self) -> list[Removal]:
        """The removals that are looked at: of a long ledger so many stand for all."""
        return evenly(self.removals, EACH if self.measured_each else SOME)

    @cached_property
    def held_out_texts(self) -> list[str]:
        """Prompts to keep, in wordings that the edit does not see."""
        return self.book.held_out_retain(self.removals, HELD_OUT_RETAIN)

    @cached_property
    def held_out(self) -> HeldOut:
        """Prompts about the removals and prompts to keep, in wordings that the edit does not see."""
        targets = pair_columns(self.site, [pair for _, pair in self.held_out_pairs], self.method.aim)
        owners = torch.tensor([self.some.index(owner) for owner, _ in self.held_out_pairs])[targets.pairs]
        retained = retained_columns(self.site, self.held_out_prompts)
        outputs = retained.keys.float() @ self.site.base.weight(self.site.layer).T  # to compare with: float32 is enough
        return HeldOut(targets, owners, retained, retained.norms(outputs.double()))

    @cached_property
    def held_out_pairs(self) -> list[Owned]:
        """A few of each removal."""
        each = max(HELD_OUT_PAIRS // len(self.some), FEWEST_PAIRS)
        return list(owned(self.some, lambda removal: self.book.held_out_pairs(removal, each)))

    @cached_property
    def held_out_prompts(self) -> list[Tokenised]:
        """The prompts to keep."""
        return self.book.tokenise_all(self.held_out_texts)

    @property
    def null(self) -> Tensor:
        """Keys of the empty prompt, (context, d). Its first is BOS's, which is the same in every prompt."""
        return self.protected[: self.book.context]

    @cached_property
    def pins(self) -> list[Tokenised]:
        """The prompts that stay as they are to rounding."""
        return self.book.tokenise_all([pin for pin in dict.fromkeys(self.method.pins) if pin])

    @cached_property
    def protected(self) -> Tensor:
        """Keys that no update may move, in float64: the empty prompt's, and those after BOS of each pinned prompt."""
        exact = self.site.exact()
        null = everywhere_keys(exact, self.book.tokenise(""))
        pinned = [everywhere_keys(exact, pin)[1:] for pin in self.pins]
        self.site.base.table.adopt(exact.base.table)
        return torch.cat([null, *pinned])

    @cached_property
    def free(self) -> Beyond:
        """The directions of the protected keys left out."""
        return beyond(self.protected)

    def prepare(self) -> None:
        """Read and project all that enters the first layer at once: a fraction of the time that it takes bit by bit."""
        _ = self.protected  # first, for its float64 weights are let go again, and its rows need no projecting any more
        pairs = [pair for _, pair in (self.few or []) + self.held_out_pairs]
        sides = [side for pair in pairs for side in (pair.concept, pair.destination)]
        every = [self.book.tokenise(""), *self.pins, *sides, *self.kept_prompts, *self.held_out_prompts]
        self.site.base.embedded(torch.stack([prompt.ids for prompt in every]))

    @cached_property
    def unit(self) -> float:
        """The unit of exact sums."""
        return unit_for(self.null)

    @property
    def emphasis(self) -> float:
        """How much what is left of the concepts counts, beside the drift."""
        return max(EMPHASIS[removal.concept.kind] for removal in self.removals)


def owned(removals: Iterable[Removal], pairs_of: Callable[[Removal], Iterable[Pair]]) -> Iterator[Owned]:
    """Pairs of some removals, each with the removal that it is about."""
    return ((removal, pair) for removal in removals for pair in pairs_of(removal))


def everywhere_keys(site: Site, prompt: Tokenised) -> Tensor:
    """Keys of every position of a prompt, (context, d)."""
    positions = torch.arange(len(prompt.ids))
    return site.keys(prompt.ids[None], Places(torch.zeros_like(positions), positions))


def most_columns(pair: Pair) -> int:
    """As many columns as a pair may have."""
    return pair.concept.eos - pair.last_subject + 1 + PADDING_COLUMNS
