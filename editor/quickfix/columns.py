"""Columns of the regression: keys of prompts that name a concept, and how far each value is from where it shall be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from editor.prompts import Pair, Tokenised, aligned_columns
from editor.prompts.alignment import Roles
from editor.prompts.contexts import evenly
from editor.quickfix.attention import Attention, Places, States
from editor.quickfix.last_layer import refined
from editor.quickfix.method import Aim
from editor.quickfix.solve import Statistics, moment, statistics
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
        """The original weight, (d, d)."""
        return self.base.weight(self.layer)

    @property
    def attention(self) -> Attention:
        """The layer's attention."""
        return self.base.attention(self.layer)

    def apart(self) -> "Site":
        """The same with tables that grow by themselves."""
        return replace(self, base=self.base.apart(), edited=self.edited.apart())

    def bare(self) -> "Site":
        """The same with nothing projected yet."""
        return replace(self, base=replace(self.base, table=Table()), edited=replace(self.edited, table=Table()))

    def entering(self, ids: Tensor) -> States:
        """What enters the layer."""
        return self.edited.entering(ids, self.layer)

    def keys(self, ids: Tensor, places: Places) -> Tensor:
        """(n, d), the keys of ``(prompts, length)`` token ids at some places."""
        return self.attention.keys(self.entering(ids), places)


@dataclass(frozen=True)
class Columns:
    """Keys, residuals and weights: ``(n, d)``, ``(n, d)``, ``(n,)``."""

    keys: Tensor
    residuals: Tensor
    weights: Tensor
    pairs: Tensor
    """(n,): which pair of prompts a column is of."""

    def statistics(self) -> Statistics:
        """Their share of the normal equations."""
        return statistics(self.keys, self.residuals, self.weights)


def joined(parts: Sequence[Columns]) -> Columns:
    """One after the other."""
    return Columns(
        torch.cat([part.keys for part in parts]),
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
    before = site.entering(torch.stack([pair.concept.ids for pair in pairs]))
    after = site.base.entering(torch.stack([pair.destination.ids for pair in pairs]), site.layer)
    keys = site.attention.keys(before, spoken)
    residuals = (site.attention.keys(after, meant) - keys) @ site.weight.T
    if aim == "residual":
        residuals += after.at(meant) - before.at(spoken)
    if aim == "last_layer":
        wanted = site.base.final(torch.stack([pair.destination.ids for pair in pairs]))[rows, meant.positions]
        residuals = refined(site.base, site.layer, before, spoken, residuals, wanted)
    weights = torch.tensor([column.weight * pairs[row].weight for row, column in aligned], dtype=torch.float64)
    return Columns(keys, residuals, weights, rows)


@dataclass(frozen=True)
class Retained:
    """Keys that stand for whole prompts which shall stay as they are."""

    keys: Tensor
    """(n, d)."""
    weights: Tensor
    """(n,): of a prompt's words 2 in sum, of EOS 1, of its padding 1."""
    prompts: Tensor
    """(n,): which prompt a key is of; ascending."""

    @property
    def moment(self) -> Tensor:
        """Their mean second moment over prompts, (d, d)."""
        return moment(self.keys, self.weights / (int(self.prompts[-1]) + 1))

    def within(self, basis: Tensor) -> "Retained":
        """The same in a basis (d, q)."""
        return replace(self, keys=self.keys @ basis)


def retained_columns(site: Site, prompts: Sequence[Tokenised]) -> Retained:
    """Every word, EOS and some paddings of each prompt."""
    places = [
        (row, position, weight / len(positions))
        for row, prompt in enumerate(prompts)
        for positions, weight in roles(prompt)
        for position in positions
    ]
    rows, positions, weights = (torch.tensor(part) for part in zip(*places, strict=True))
    keys = site.keys(torch.stack([prompt.ids for prompt in prompts]), Places(rows, positions))
    return Retained(keys, weights.double(), rows)


def roles(prompt: Tokenised) -> Iterator[tuple[list[int], float]]:
    """Positions of each role after BOS that the prompt has, with the role's weight."""
    words, padding = range(1, prompt.eos), range(prompt.eos + 1, len(prompt.ids))
    every = [(list(words), 2.0), ([prompt.eos], 1.0), (evenly(padding, PADDING_COLUMNS), 1.0)]
    return ((places, weight) for places, weight in every if places)
