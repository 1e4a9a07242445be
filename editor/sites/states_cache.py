"""Hidden states of prompts, kept so that the edit of a later map continues from them instead of from the embeddings."""

from dataclasses import dataclass, field

from torch import Tensor

from editor.checkpoints import TextEncoder
from editor.sites.final_states import EncoderUpdates, SampledPrompts, states_after

MAX_CACHED_BYTES = 2**30
"""States that are kept of one encoder; those that exceed it are computed each time."""


@dataclass(frozen=True)
class CachedStates:
    """The distinct hidden states of some prompts after some layers."""

    layers: int
    updates: EncoderUpdates
    """dW of the edited maps in these layers."""
    states: Tensor
    """(distinct, d)."""

    def leads_to(self, layers: int, updates: EncoderUpdates) -> bool:
        """Return whether the states after more layers, or as many, with some updates follow from these."""
        earlier = updates_before(updates, self.layers)
        same = earlier.keys() == self.updates.keys() and all(earlier[one] is self.updates[one] for one in earlier)
        return self.layers <= layers and same


@dataclass
class StatesCache:
    """The latest states at some positions of each list of prompts, with and without updates."""

    found: dict[tuple[bytes, bytes, bool], CachedStates] = field(default_factory=dict)

    def states_after(
        self, source: TextEncoder, prompts: SampledPrompts, layers: int, updates: EncoderUpdates
    ) -> tuple[Tensor, Tensor]:
        """Return the hidden states after some layers as `editor.sites.final_states.states_after` does, bit by bit."""
        key = (prompts.ids.numpy().tobytes(), prompts.positions.numpy().tobytes(), bool(updates))
        cached = self.found.get(key)
        earlier = (cached.layers, cached.states) if cached and cached.leads_to(layers, updates) else None
        states, index = states_after(source, prompts, layers, updates, earlier)
        kept = sum(one.states.nbytes for name, one in list(self.found.items()) if name != key)
        if kept + states.nbytes <= MAX_CACHED_BYTES:
            self.found[key] = CachedStates(layers, updates_before(updates, layers), states)
        return states, index


def updates_before(updates: EncoderUpdates, layer: int) -> EncoderUpdates:
    """Return the updates in the layers before one."""
    return {projection: update for projection, update in updates.items() if projection.layer < layer}
