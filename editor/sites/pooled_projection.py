"""The pooled projection: the linear map that reads one vector of the whole prompt and adds it to the denoiser's modulation.

SDXL reads the larger encoder's pooled vector, SD3 both encoders', FLUX.1 the only CLIP encoder's without a projection. The
vector mixes all words of a prompt, so a concept is removed from it less cleanly than from rows of words.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from editor.checkpoints import Checkpoint
from editor.checkpoints.key_mapping import TEXT_PROJECTION
from editor.prompts import PromptBuilder, PromptPair, TokenizedPrompt, pair_encoders
from editor.prompts.token_alignment import AlignedToken
from editor.sites.clip_attention import TokenPositions
from editor.sites.shared_weights import SharedWeights
from editor.sites.stream_site import StreamSite
from editor.sites.streams import ClipStates

TENSORS = {
    "sdxl": "add_embedding.linear_1.weight",
    "sd3": "time_text_embed.text_embedder.linear_1.weight",
    "flux": "time_text_embed.text_embedder.linear_1.weight",
}
"""Names in diffusers, by family."""
ENCODERS = {"sdxl": ("text_encoder_2",), "sd3": ("text_encoder", "text_encoder_2"), "flux": ("text_encoder",)}
"""The encoders whose pooled vectors are read, side by side."""
UNPROJECTED = ("flux",)
"""Families that read the final state at EOS without the text projection."""


@dataclass(frozen=True)
class PooledStates:
    """One row for each prompt: the final states at EOS, projected as the family does; see `editor.sites.streams.Stream`."""

    parts: tuple[ClipStates, ...]
    projected: bool
    repeats_first: bool = False

    @cached_property
    def projections(self) -> tuple[Tensor | None, ...]:
        """Each encoder's text projection, (p, d); None for the identity, which files of SD3 omit."""
        stored = (self.projected and TEXT_PROJECTION in part.source.locations for part in self.parts)
        return tuple(
            part.source.tensor(TEXT_PROJECTION).float() if present else None
            for part, present in zip(self.parts, stored, strict=True)
        )

    @property
    def width(self) -> int:
        """See `Stream`."""
        pairs = zip(self.parts, self.projections, strict=True)
        return sum(part.width if projection is None else len(projection) for part, projection in pairs)

    def rows(self, prompts: Sequence[TokenizedPrompt], at: TokenPositions) -> tuple[Tensor, Tensor]:
        """See `Stream`. There is one position, whatever its number."""
        chosen, key_index = torch.unique(at.prompt_index, return_inverse=True)
        ends = TokenPositions(chosen, torch.tensor([prompts[index].eos for index in chosen.tolist()]))
        columns = []
        for part, projection in zip(self.parts, self.projections, strict=True):
            rows, index = part.rows(prompts, ends)
            columns.append(rows[index] if projection is None else rows[index] @ projection.T)
        return torch.cat(columns, dim=1), key_index

    def align(self, pair: PromptPair) -> Sequence[AlignedToken]:
        """See `Stream`."""
        return [AlignedToken(0, 0, "eos", 1.0)]

    def retained_positions(self, prompt: TokenizedPrompt) -> Iterator[tuple[list[int], float]]:
        """See `Stream`."""
        yield [0], 1.0

    def protected_positions(self, prompt: TokenizedPrompt) -> list[int]:
        """See `Stream`."""
        return [0]

    def prefetch(self, prompts: Sequence[TokenizedPrompt]) -> None:
        """See `Stream`."""
        for part in self.parts:
            part.prefetch(prompts)

    def without_cache(self) -> "PooledStates":
        """See `Stream`."""
        return PooledStates(tuple(part.without_cache() for part in self.parts), self.projected)

    def exact(self) -> "PooledStates":
        """See `Stream`."""
        return PooledStates(tuple(part.exact() for part in self.parts), self.projected)


def find_pooled_projection(checkpoint: Checkpoint, builders: Sequence[PromptBuilder]) -> StreamSite | None:
    """Return the site of a model; None if its family has none, or the checkpoint lacks an encoder that feeds it."""
    denoiser, family = checkpoint.denoiser, checkpoint.family
    name = TENSORS.get(family)
    if denoiser is None or name is None or name not in denoiser.locations:
        return None
    pairs = pair_encoders(checkpoint, builders)
    own = {
        source.component: ClipStates(source, builder, source.layers, normed=True, padding_slots=1)
        for source, builder in pairs
    }
    if not own.keys() >= set(ENCODERS[family]):
        return None
    stream = PooledStates(tuple(own[one] for one in ENCODERS[family]), family not in UNPROJECTED)
    return StreamSite("pooled_projection", stream, SharedWeights(denoiser, (name,), stream.width))
