"""Columns of the regression: keys of prompts that name a concept, and how far each value is from where it shall be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from editor.prompts import Pair, Tokenised, aligned_columns
from editor.prompts.templates import evenly
from editor.prompts.token_alignment import Roles
from editor.sites.clip_attention import Attention, Places, States, openings
from editor.sites.embedding_cache import Table
from editor.sites.final_state_matching import refined
from editor.sites.lazy_clip import Tower
from editor.solver.config import Aim
from editor.solver.regression import Columns, Retained

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
