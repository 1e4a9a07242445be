"""Edits of a batch in an image backbone: outputs put back from the clean run's row; layers that read another prompt."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from editor.tracing.sites import BlockSite


@dataclass
class Restoring:
    """At each site, a restored run takes over what the clean run in the same batch has just computed there.

    So clean activations live for one module of one step, and need no store.
    """

    sites: Sequence[BlockSite | None]
    """Of each row; None: left alone."""
    sources: Sequence[int]
    """Each row's clean run, as a row."""
    step: int = 0

    @contextmanager
    def apply(self, backbone: nn.Module, first: int) -> Iterator[None]:
        """Hook the modules of all sites."""
        rows: dict[str, list[int]] = defaultdict(list)
        for row, site in enumerate(self.sites):
            for name in site.modules if site else ():
                rows[name].append(row)
        handles = [
            backbone.get_submodule(name).register_forward_hook(self.restorer(chosen, first))
            for name, chosen in rows.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def restorer(self, rows: Sequence[int], first: int) -> Callable[..., Any]:
        """A hook that restores the rows whose site is active in this step."""

        def hook(_: nn.Module, __: Any, output: Any) -> Any:
            active = [row for row in rows if (site := self.sites[row]) and site.at(self.step)]
            targets = torch.tensor([first + row for row in active], dtype=torch.long)
            sources = torch.tensor([first + self.sources[row] for row in active], dtype=torch.long)
            total = first + len(self.sites)
            return tree_map(lambda part: taken_over(part, targets, sources, total), output)

        return hook


def taken_over(part: Any, targets: Tensor, sources: Tensor, total: int) -> Any:
    """Rows ``targets`` become rows ``sources``; what isn't a tensor in rows stays."""
    if not isinstance(part, Tensor) or not len(targets) or part.shape[0] != total:
        return part
    return part.index_copy(0, targets.to(part.device), part[sources.to(part.device)])


@dataclass
class Reading:
    """At its site's cross-attention layers, a row reads another prompt (LocoGen's direct effect)."""

    sites: Sequence[BlockSite | None]
    others: Tensor
    """``(rows, positions, width)``: the other prompt's states for each row."""
    step: int = 0

    @contextmanager
    def apply(self, backbone: nn.Module, first: int) -> Iterator[None]:
        """Hook the layers of all sites."""
        names = {name for site in self.sites if site for name in site.modules}
        handles = [
            backbone.get_submodule(name).register_forward_pre_hook(self.reader(name, first), with_kwargs=True)
            for name in names
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def reader(self, name: str, first: int) -> Callable[..., Any]:
        """A hook that swaps the prompt of the rows that have this layer; the same tensor in every step."""
        rows = [row for row, site in enumerate(self.sites) if site and name in site.modules]
        known: list[tuple[Tensor, Tensor]] = []

        def hook(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
            states = kwargs["encoder_hidden_states"]
            if not known or known[0][0] is not states:
                mixed = states.clone()
                mixed[[first + row for row in rows]] = self.others[rows].to(states)
                known[:] = [(states, mixed)]
            return args, {**kwargs, "encoder_hidden_states": known[0][1]}

        return hook
