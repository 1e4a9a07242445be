"""Columns of the regression: keys of prompts that name a concept, and how far each value is from where it shall be."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor

from editor.prompts import Pair, Tokenised, aligned_columns
from editor.prompts.alignment import Roles
from editor.prompts.contexts import evenly
from editor.quickfix.attention import Attention, Places, States, openings
from editor.quickfix.last_layer import refined
from editor.quickfix.method import Aim
from editor.quickfix.solve import Statistics, moment
from editor.quickfix.table import Table
from editor.quickfix.tower import Tower

PADDING_COLUMNS = 4
"""Padding positions of a prompt that enter the sums: their keys change slowly along the padding."""
ROLES = Roles(padding_columns=PADDING_COLUMNS)


def roles_of(aim: Aim) -> Roles:
    """Some paddings stand for all, unless later layers must see them all changed."""
    return Roles() if aim == "last_layer" else ROLES


@dataclass(frozen=True)
class Site:
    """An output projection to edit."""

    base: Tower
    """The original encoder: says what a destination means."""
    edited: Tower
    """The same with the updates of earlier layers: says what enters the layer."""
    layer: int

    def __str__(self) -> str:
        """A name for files."""
        return f"{self.base.source.component}-{self.layer}"

    @property
    def weight(self) -> Tensor:
        """The original weight, (d, d), in float64."""
        return self.base.once(f"exact weight {self.layer}", lambda: self.base.weight(self.layer).double())

    @property
    def attention(self) -> Attention:
        """The layer's attention."""
        return self.base.attention(self.layer)

    def apart(self) -> "Site":
        """The same with a table that grows by itself."""
        return self.upon(self.base.table.fork())

    def exact(self) -> "Site":
        """The same in float64."""
        base = self.base.exact()
        return replace(self, base=base, edited=base.edited(self.edited.edits))

    def bare(self) -> "Site":
        """The same with nothing projected yet."""
        return self.upon(Table())

    def upon(self, table: Table) -> "Site":
        """The same with another table."""
        return replace(self, base=replace(self.base, table=table), edited=replace(self.edited, table=table))

    def entering(self, ids: Tensor) -> States:
        """What enters the layer."""
        return self.edited.entering(ids, self.layer)

    def keys(self, ids: Tensor, places: Places) -> Tensor:
        """(n, d), the keys of ``(prompts, length)`` token ids at some places."""
        return self.keys_in(self.entering(ids), places)

    def keys_in(self, states: States, places: Places) -> Tensor:
        """The same where it is known what enters the layer; float64, for solving."""
        return self.attention.keys(states, places).double()


@dataclass(frozen=True)
class Columns:
    """Keys, residuals and weights of n columns.

    A key depends on the tokens up to its own alone, so columns of prompts that open alike have it in common.
    """

    keys: Tensor
    """(m, d), each once."""
    which: Tensor
    """(n,): a column's key."""
    residuals: Tensor
    """(n, o)."""
    weights: Tensor
    """(n,)."""
    pairs: Tensor
    """(n,): which pair of prompts a column is of."""

    def statistics(self) -> Statistics:
        """Their share of the normal equations."""
        weighted = self.residuals * self.weights[:, None]
        target = weighted.new_zeros(len(self.keys), weighted.shape[1]).index_add(0, self.which, weighted)
        return Statistics(moment(self.keys, summed(self.weights, self.which, len(self.keys))), target.T @ self.keys)

    def left(self, update: Callable[[Tensor], Tensor]) -> Tensor:
        """Squared norm of what an update, keys (m, d) -> outputs (m, o), leaves of each residual, (n,)."""
        return (self.residuals - update(self.keys)[self.which]).square().sum(1)


def summed(weights: Tensor, which: Tensor, count: int) -> Tensor:
    """Sums (count,) of the weights (n,) that belong together."""
    return weights.new_zeros(count).index_add(0, which, weights)


def joined(parts: Sequence[Columns]) -> Columns:
    """One after the other."""
    offsets = accumulate((len(part.keys) for part in parts), initial=0)
    return Columns(
        torch.cat([part.keys for part in parts]),
        torch.cat([part.which + offset for part, offset in zip(parts, offsets, strict=False)]),
        torch.cat([part.residuals for part in parts]),
        torch.cat([part.weights for part in parts]),
        torch.cat([part.pairs for part in parts]),
    )


def pair_columns(site: Site, pairs: Sequence[Pair], aim: Aim) -> Columns:
    """Aligned columns of prompt pairs; each prompt counts what its pair says, and each role within it the same."""
    aligned = [(row, column) for row, pair in enumerate(pairs) for column in aligned_columns(pair, roles_of(aim))]
    rows = torch.tensor([row for row, _ in aligned])
    spoken = Places(rows, torch.tensor([column.key for _, column in aligned]))
    meant = Places(rows, torch.tensor([column.value for _, column in aligned]))
    said = torch.stack([pair.concept.ids for pair in pairs])
    wanted = torch.stack([pair.destination.ids for pair in pairs])
    before, after = site.entering(said), site.base.entering(wanted, site.layer)
    keys, which = distinct_keys(site, said, before, spoken)
    others, likewise = distinct_keys(site, wanted, after, meant)
    weight = site.base.weight(site.layer)
    residuals = ((others[likewise] - keys[which]).to(weight) @ weight.T).double()
    if aim == "residual":
        residuals += after.at(meant).double() - before.at(spoken).double()
    if aim == "last_layer":
        ends = site.base.final(wanted)[rows, meant.positions]
        residuals = refined(site.base, site.layer, before, spoken, residuals, ends)
    weights = torch.tensor([column.weight * pairs[row].weight for row, column in aligned], dtype=torch.float64)
    return Columns(keys, which, residuals, weights, rows)


def distinct_keys(site: Site, ids: Tensor, states: States, places: Places) -> tuple[Tensor, Tensor]:
    """The keys at some places (n,) of prompts ``ids`` of which ``states`` enter the layer, each once; and which has which."""
    first, which = openings(ids, places)
    return site.keys_in(states, places.part(first)), which


@dataclass(frozen=True)
class Retained:
    """Places that stand for whole prompts which shall stay as they are."""

    keys: Tensor
    """(m, d), each once."""
    which: Tensor
    """(n,): the key at a place."""
    weights: Tensor
    """(n,): of a prompt's words 2 in sum, of EOS 1, of its padding 1."""
    prompts: Tensor
    """(n,): which prompt a place is in; ascending."""

    @property
    def count(self) -> int:
        """Prompts."""
        return int(self.prompts[-1]) + 1

    @property
    def moment(self) -> Tensor:
        """The keys' mean second moment over prompts, (d, d)."""
        return moment(self.keys, summed(self.weights, self.which, len(self.keys)) / self.count)

    def norms(self, rows: Tensor) -> Tensor:
        """Weighted norm of each prompt's rows, (prompts,), where ``rows`` (m, any) are those of the keys."""
        squares = rows.square().sum(1)[self.which] * self.weights
        return summed(squares, self.prompts, self.count).sqrt()


def retained_columns(site: Site, prompts: Sequence[Tokenised]) -> Retained:
    """Every word, EOS and some paddings of each prompt."""
    places = [
        (row, position, weight / len(positions))
        for row, prompt in enumerate(prompts)
        for positions, weight in roles(prompt)
        for position in positions
    ]
    rows, positions, weights = (torch.tensor(part) for part in zip(*places, strict=True))
    ids, every = torch.stack([prompt.ids for prompt in prompts]), Places(rows, positions)
    keys, which = distinct_keys(site, ids, site.entering(ids), every)
    return Retained(keys, which, weights.double(), rows)


def roles(prompt: Tokenised) -> Iterator[tuple[list[int], float]]:
    """Positions of each role after BOS that the prompt has, with the role's weight."""
    words, padding = range(1, prompt.eos), range(prompt.eos + 1, len(prompt.ids))
    every = [(list(words), 2.0), ([prompt.eos], 1.0), (evenly(padding, PADDING_COLUMNS), 1.0)]
    return ((places, weight) for places, weight in every if places)
