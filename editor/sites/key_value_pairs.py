"""Regression rows of a CLIP site: keys of prompts that name a concept, and how far each value is from its target."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from editor.checkpoints import OutputProjection
from editor.prompts import PromptPair, TokenizedPrompt, align_tokens
from editor.prompts.templates import evenly_spaced
from editor.prompts.token_alignment import RoleWeights
from editor.sites.clip_attention import CLIPAttention, HiddenStates, TokenPositions, unique_prefixes
from editor.sites.embedding_cache import EmbeddingCache
from editor.sites.final_state_matching import match_final_states
from editor.sites.final_states import EncoderUpdates, SampledPrompts
from editor.sites.lazy_clip import LazyCLIPTextModel
from editor.solver.normal_equations import RELATIVE_RIDGE
from editor.solver.regression import RegressionRows, RetainedKeys
from editor.solver.risk_curves import CLIP_CURVES, RiskCurves

Aim = Literal["attention", "residual", "last_layer"]
MAX_PADDING_POSITIONS = 4
"""Padding positions of a prompt that are used: their keys change slowly along the padding."""
PADDING_SLOTS = 8
"""Positions of the padding at which the input of a later layer is computed."""
WORD_WEIGHT = 0.2
"""Weight of the words of a prompt relative to EOS and to the padding, to which a denoiser attends most."""
RETAIN_PROMPTS = 1200
"""Twice as many preserve no more; half as many let a joint removal of ten objects spoil half as many again of its images."""
LATER_EFFECT_TOLERANCE = 0.1
"""Share of the effect that the factors of a map after the first edited one may leave out. For a style it halves their rank, to
one that a LoRA can have, and changes the residual and the drift by less than 0.002."""
ROLE_WEIGHTS = RoleWeights(subject=WORD_WEIGHT, trailing=WORD_WEIGHT, max_padding_positions=MAX_PADDING_POSITIONS)


def role_weights_for(aim: Aim) -> RoleWeights:
    """Return the weights of token roles. A sample represents the padding, unless later layers must see all of it changed."""
    return RoleWeights() if aim == "last_layer" else ROLE_WEIGHTS


@dataclass(frozen=True)
class Site:
    """An output projection to edit, of a layer's attention or of its MLP."""

    base: LazyCLIPTextModel
    """The original encoder, which defines the targets."""
    edited: LazyCLIPTextModel
    """The encoder with the updates of the maps before this one, which gives its input."""
    projection: OutputProjection

    def __str__(self) -> str:
        """Return a name for files."""
        return f"{self.base.source.component}-{self.layer}{'-mlp' if self.projection.of_mlp else ''}"

    @property
    def layer(self) -> int:
        """The layer of the map."""
        return self.projection.layer

    @property
    def weight(self) -> Tensor:
        """The original weight, (o, d), in float64."""
        return self.base.float64_weight(self.projection)

    @property
    def attention(self) -> CLIPAttention:
        """The layer's attention."""
        return self.base.attention(self.layer)

    @property
    def unedited(self) -> "Site":
        """The site in the original encoder."""
        return replace(self, edited=self.base.with_updates({}))

    def with_forked_cache(self) -> "Site":
        """Return the site with a copy of its embedding cache that grows independently."""
        return self.with_cache(self.base.embeddings.fork())

    def with_empty_cache(self) -> "Site":
        """Return the site with an empty embedding cache."""
        return self.with_cache(EmbeddingCache())

    def with_cache(self, embeddings: EmbeddingCache) -> "Site":
        """Return the site with another embedding cache."""
        return replace(
            self,
            base=replace(self.base, embeddings=embeddings),
            edited=replace(self.edited, embeddings=embeddings),
        )

    def in_float64(self) -> "Site":
        """Return the site computed in float64."""
        base = self.base.in_float64()
        return replace(self, base=base, edited=base.with_updates(self.edited.updates))

    # What an edit of any kind of site needs; see `editor.sites.edit_site.EditSite`.

    @property
    def width(self) -> int:
        """See `EditSite`."""
        return self.norm_weight.shape[1]

    @property
    def norm_weight(self) -> Tensor:
        """See `EditSite`."""
        return self.base.weight(self.projection)

    @property
    def value_map(self) -> None:
        """See `EditSite`. The residuals of these rows are in the space of the values already."""

    @property
    def relative_ridge(self) -> float:
        """See `EditSite`."""
        return RELATIVE_RIDGE

    @property
    def effect_tolerance(self) -> float | None:
        """See `EditSite`."""
        return LATER_EFFECT_TOLERANCE if self.follows_edits else None

    @property
    def max_retain_prompts(self) -> int:
        """See `EditSite`."""
        return RETAIN_PROMPTS

    @property
    def follows_edits(self) -> bool:
        """See `EditSite`."""
        return bool(self.edited.updates)

    @property
    def risk_curves(self) -> RiskCurves:
        """See `EditSite`."""
        return CLIP_CURVES

    def prefetch(self, prompts: Sequence[TokenizedPrompt]) -> None:
        """See `EditSite`. Embeds and projects all first-layer inputs in one batch, much faster than one by one."""
        self.base.embed(ids_of(prompts))

    def protected_keys(self, null: TokenizedPrompt, pins: Sequence[TokenizedPrompt]) -> tuple[Tensor, Tensor]:
        """See `EditSite`."""
        exact = self.in_float64()
        null_keys = keys_of_prompt(exact, null)
        pinned = [keys_of_prompt(exact, pin)[1:] for pin in pins]
        self.base.embeddings.seed_from(exact.base.embeddings)
        return null_keys, torch.cat([null_keys[:0], *pinned])

    def rows(self, pairs: Sequence[PromptPair], aim: Aim) -> RegressionRows:
        """See `EditSite`."""
        return regression_rows(self, pairs, aim)

    def retained(self, prompts: Sequence[TokenizedPrompt]) -> RetainedKeys:
        """See `EditSite`."""
        return retained_keys(self, prompts, restore=self.follows_edits)

    def template(self, prompts: Sequence[TokenizedPrompt]) -> "Site":
        """See `EditSite`."""
        site = self.with_empty_cache()
        site.prefetch(prompts)
        return site

    def isolated(self, pairs: Sequence[PromptPair]) -> "Site":
        """See `EditSite`."""
        site = self.with_forked_cache()
        site.prefetch([side for pair in pairs for side in (pair.concept, pair.destination)])
        return site

    def hidden_states(self, ids: Tensor) -> HiddenStates:
        """Return the layer's input for token ids (prompts, length)."""
        return self.edited.hidden_states_before(ids, self.layer)

    def states_of(self, prompts: Sequence[TokenizedPrompt]) -> HiddenStates:
        """Return the layer's input for prompts. After the first layer, most of the padding is not computed."""
        return input_states(self.edited, prompts, self.layer)

    def keys(self, ids: Tensor, at: TokenPositions) -> Tensor:
        """Return the float64 keys (n, d) at some positions of token ids (prompts, length)."""
        return self.inputs_at(self.hidden_states(ids), at)[0]

    def inputs_at(self, states: HiddenStates, at: TokenPositions) -> tuple[Tensor, Tensor]:
        """Return what the map reads and what its values are added to, at n positions, from the layer's input.

        Returns:
            The float64 keys, (n, d), and the residual stream, (n, o).
        """
        keys, stream = self.attention.keys(states, at), states.at(at)
        if self.projection.of_mlp:
            stream = stream + F.linear(keys, *self.edited.output_projection(OutputProjection(self.layer)))
            keys = self.base.mlp(self.layer).keys(stream)
        return keys.double(), stream


def open_site(model: LazyCLIPTextModel, updates: EncoderUpdates, projection: OutputProjection) -> Site:
    """Return the site of a map in a text encoder with the updates of the maps before it."""
    earlier = {one: update for one, update in updates.items() if one < projection}
    return Site(model, model.with_updates(earlier), projection)


def input_states(model: LazyCLIPTextModel, prompts: Sequence[TokenizedPrompt], layer: int) -> HiddenStates:
    """Return the input of a layer for prompts.

    After the first layer, a state in the padding stands for a run of positions, unless the prompt is empty: there, states
    change along the padding.
    """
    ids = ids_of(prompts)
    if layer == 0:
        return model.embed(ids)
    values, rows = torch.empty(0, model.source.width), torch.empty_like(ids)
    is_empty = torch.tensor([prompt.eos == 1 for prompt in prompts])
    for chosen, stride in ((~is_empty, -(-ids.shape[1] // PADDING_SLOTS)), (is_empty, 1)):
        if chosen.any():
            sampled = SampledPrompts.on_grid([*compress(prompts, chosen.tolist())], stride)
            states, index = model.states.states_after(model.source, sampled, layer, model.updates)
            rows[chosen] = sampled.expand(index) + len(values)
            values = torch.cat([values, states])
    return HiddenStates(values, rows, has_runs=True)


def regression_rows(site: Site, pairs: Sequence[PromptPair], aim: Aim) -> RegressionRows:
    """Return the rows of the aligned tokens of prompt pairs.

    Args:
        site: the site to edit.
        pairs: prompts that name a concept, each with its destination; a pair has the weight that it says.
        aim: the activation that is matched to the destination's.
    """
    aligned = [
        (index, token) for index, pair in enumerate(pairs) for token in align_tokens(pair, role_weights_for(aim))
    ]
    pair_index = torch.tensor([index for index, _ in aligned])
    at = TokenPositions(pair_index, torch.tensor([token.key for _, token in aligned]))
    target_at = TokenPositions(pair_index, torch.tensor([token.value for _, token in aligned]))
    prompts, destinations = [pair.concept for pair in pairs], [pair.destination for pair in pairs]
    found, targets = read_inputs(site, prompts, at), read_inputs(site.unedited, destinations, target_at)
    residuals = residuals_to(site, targets, found, aim)
    if aim == "last_layer":
        wanted = site.base.final_states(ids_of(destinations))[pair_index, target_at.positions]
        residuals = match_final_states(site.base, site.layer, found.states, at, residuals, wanted)
    weights = torch.tensor([token.weight * pairs[index].weight for index, token in aligned], dtype=torch.float64)
    rows = RegressionRows(found.keys, found.index, residuals, weights, pair_index)
    if not site.follows_edits:
        return rows
    unedited = residuals_to(site, targets, read_inputs(site.unedited, prompts, at), aim)
    embedded = site.base.embed(ids_of(destinations)).at(target_at)
    return replace(rows, earlier=(found.stream[found.index] - embedded).double(), unedited=unedited)


@dataclass(frozen=True)
class SiteInputs:
    """What a map reads at n positions of prompts, with each distinct row stored once."""

    states: HiddenStates
    """The input of the layer."""
    keys: Tensor
    """(m, d) float64."""
    stream: Tensor
    """(m, o), the residual stream that the map's values are added to."""
    index: Tensor
    """(n,), the row of each position."""
    first: TokenPositions
    """The first position of each row."""


def read_inputs(site: Site, prompts: Sequence[TokenizedPrompt], at: TokenPositions) -> SiteInputs:
    """Return what the site's map reads at n positions of prompts."""
    states = site.states_of(prompts)
    first, index = unique_prefixes(ids_of(prompts), at)
    distinct = at.select(first)
    return SiteInputs(states, *site.inputs_at(states, distinct), index, distinct)


def ids_of(prompts: Sequence[TokenizedPrompt]) -> Tensor:
    """Return the token ids of prompts, (prompts, length)."""
    return torch.stack([prompt.ids for prompt in prompts])


def residuals_to(site: Site, targets: SiteInputs, found: SiteInputs, aim: Aim) -> Tensor:
    """Return what the map's output lacks at n positions, (n, o) float64.

    Args:
        site: the site to edit.
        targets: the inputs that are wanted.
        found: those that there are.
        aim: whether the stream counts, too.
    """
    weight = site.norm_weight
    differences = targets.keys[targets.index] - found.keys[found.index]
    values = (differences.to(weight) @ weight.T).double()
    if aim != "residual":
        return values
    return values + (targets.stream[targets.index] - found.stream[found.index]).double()


def keys_of_prompt(site: Site, prompt: TokenizedPrompt) -> Tensor:
    """Return the keys of every position of a prompt, (context, d)."""
    return site.keys(prompt.ids[None], TokenPositions.of_one_prompt(torch.arange(len(prompt.ids))))


def retained_keys(site: Site, prompts: Sequence[TokenizedPrompt], *, restore: bool = False) -> RetainedKeys:
    """Return the keys of every word, of EOS and of some padding of each prompt.

    Args:
        site: the site to edit.
        prompts: the prompts to retain.
        restore: whether to return too what the edits of earlier layers took from the residual stream.
    """
    rows = [
        (index, position, weight / len(positions))
        for index, prompt in enumerate(prompts)
        for positions, weight in retained_positions(prompt)
        for position in positions
    ]
    prompt_index, positions, weights = (torch.tensor(column) for column in zip(*rows, strict=True))
    found = read_inputs(site, prompts, TokenPositions(prompt_index, positions))
    retained = RetainedKeys(found.keys, found.index, weights.double(), prompt_index)
    if not restore:
        return retained
    distinct = replace(found, index=torch.arange(len(found.keys)))
    residuals = residuals_to(site, read_inputs(site.unedited, prompts, found.first), distinct, "residual")
    embedded = site.base.embed(ids_of(prompts)).at(found.first)
    return replace(retained, residuals=residuals, earlier=(found.stream - embedded).double())


def retained_positions(prompt: TokenizedPrompt) -> Iterator[tuple[list[int], float]]:
    """Yield the positions and the total weight of each role after BOS that the prompt contains."""
    words, padding = range(1, prompt.eos), range(prompt.eos + 1, len(prompt.ids))
    roles = [(list(words), 2 * WORD_WEIGHT), ([prompt.eos], 1.0), (evenly_spaced(padding, MAX_PADDING_POSITIONS), 1.0)]
    return ((positions, weight) for positions, weight in roles if positions)
