"""Interventions on an image backbone: patch module outputs from the clean run, or swap the prompt of single layers."""

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
class PatchFromClean:
    """At each row's site, replace the output by that of the clean run in the same batch.

    Clean activations are needed for one module of one step only, and are never stored.
    """

    sites: Sequence[BlockSite | None]
    """The site of each row; None: the row is not patched."""
    sources: Sequence[int]
    """The row of each row's clean run."""
    step: int = 0

    @contextmanager
    def apply(self, backbone: nn.Module, first: int) -> Iterator[None]:
        """See `Intervention.apply`. Hooks the modules of all sites."""
        rows: dict[str, list[int]] = defaultdict(list)
        for row, site in enumerate(self.sites):
            for name in site.modules if site else ():
                rows[name].append(row)
        handles = [
            backbone.get_submodule(name).register_forward_hook(self.make_hook(own, first)) for name, own in rows.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def make_hook(self, rows: Sequence[int], first: int) -> Callable[..., Any]:
        """Return a hook that patches the rows whose site is active in the current step."""

        def hook(_: nn.Module, __: Any, output: Any) -> Any:
            active = [row for row in rows if (site := self.sites[row]) and site.is_active(self.step)]
            targets = torch.tensor([first + row for row in active], dtype=torch.long)
            sources = torch.tensor([first + self.sources[row] for row in active], dtype=torch.long)
            total = first + len(self.sites)
            return tree_map(lambda part: copy_rows(part, targets, sources, total), output)

        return hook


def copy_rows(part: Any, targets: Tensor, sources: Tensor, total: int) -> Any:
    """Copy rows ``sources`` to rows ``targets``; leave anything that is not a tensor of ``total`` rows unchanged."""
    if not isinstance(part, Tensor) or not len(targets) or part.shape[0] != total:
        return part
    return part.index_copy(0, targets.to(part.device), part[sources.to(part.device)])


@dataclass
class SwapPrompt:
    """Let the cross-attention layers of each row's site attend to another prompt (direct effect, LocoGen)."""

    sites: Sequence[BlockSite | None]
    other_states: Tensor
    """The other prompt's states for each row, ``(rows, positions, width)``."""
    step: int = 0

    @contextmanager
    def apply(self, backbone: nn.Module, first: int) -> Iterator[None]:
        """See `Intervention.apply`. Hooks the layers of all sites."""
        names = {name for site in self.sites if site for name in site.modules}
        handles = [
            backbone.get_submodule(name).register_forward_pre_hook(self.make_hook(name, first), with_kwargs=True)
            for name in names
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def make_hook(self, name: str, first: int) -> Callable[..., Any]:
        """Return a hook that swaps the prompt of the rows whose site has this layer.

        It returns the same tensor object in every step, so that the layer's cached keys and values stay valid.
        """
        rows = [row for row, site in enumerate(self.sites) if site and name in site.modules]
        cached: list[tuple[Tensor, Tensor]] = []

        def hook(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
            states = kwargs["encoder_hidden_states"]
            if not cached or cached[0][0] is not states:
                swapped = states.clone()
                swapped[[first + row for row in rows]] = self.other_states[rows].to(states)
                cached[:] = [(states, swapped)]
            return args, {**kwargs, "encoder_hidden_states": cached[0][1]}

        return hook
