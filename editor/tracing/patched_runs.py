"""Run a text encoder with activations patched from a clean run, many sites in one batch.

Only what a patch can change is recomputed: not the layers before the site, and in later layers not the positions before it,
whose keys and values are cached. Runs whose patch starts at the same position share a batch: each layer processes the runs
that started in earlier layers, and adds those that start in it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from editor.generation.clip_runner import CLIPTextRunner, KeysValues
from editor.tracing.sites import TEXT_KINDS, TextKind, TextSite
from editor.tracing.traced_prompts import TokenGroup


@dataclass(frozen=True)
class ActivationCache:
    """All activations of a run by layer; each tensor is ``(rows, positions, width)``."""

    residual: list[Tensor]
    """The residual stream before each layer, and after the last."""
    attention: list[Tensor]
    mlp: list[Tensor]
    keys_values: list[KeysValues]
    states: Tensor
    """The encoder's output, which conditions the denoiser."""


@torch.no_grad()
def run_with_cache(encoder: CLIPTextRunner, embedded: Tensor) -> ActivationCache:
    """Run embeddings ``(rows, positions, width)`` through the encoder and return all activations."""
    residual, attention, mlp, keys_values = [embedded], [], [], []
    with encoder.autocast():
        for layer in range(encoder.depth):
            attended, layer_keys_values = encoder.attention(layer, residual[-1])
            middle = residual[-1] + attended
            output = encoder.mlp(layer, middle)
            residual.append(middle + output)
            attention.append(attended)
            mlp.append(output)
            keys_values.append(layer_keys_values)
        return ActivationCache(residual, attention, mlp, keys_values, encoder.output_states(residual[-1]))


@dataclass(frozen=True)
class PatchBatch:
    """``n`` patched runs whose patch starts at the same position."""

    samples: Tensor
    """``(n,)``: row of the corrupted run."""
    prompts: Tensor
    """``(n,)``: row of the clean run."""
    kinds: Tensor
    """``(n,)``: index into ``TEXT_KINDS``."""
    starts: Tensor
    """``(n,)``: the first patched layer, in ascending order."""
    stops: Tensor
    """``(n,)``: the layer after the last patched one."""
    mask: Tensor
    """``(n, positions)`` bool: the patched positions."""

    def mask_at(self, kind: TextKind, layer: int) -> Tensor:
        """Return where this kind of block is patched in this layer, ``(n, positions)`` bool."""
        active = (self.kinds == TEXT_KINDS.index(kind)) & (self.stops > layer)
        return self.mask & active[:, None]

    def select(self, rows: slice) -> "PatchBatch":
        """Return some of the runs."""
        return PatchBatch(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True)
class TextPatcher:
    """The clean and the corrupted run of one encoder, from which patched runs start."""

    encoder: CLIPTextRunner
    clean: ActivationCache
    """One row for each prompt."""
    corrupted: ActivationCache
    """One row for each sample."""
    prompt_of: Tensor
    """``(samples,)``: row of the sample's prompt in ``clean``."""
    group_masks: Tensor
    """``(groups, prompts, positions)`` bool: the positions of each token group."""
    first_corrupted: Tensor
    """``(prompts,)``: first position that the corruption changes."""

    @torch.no_grad()
    def patch(self, cells: Sequence[tuple[int, TextSite]]) -> Tensor:
        """Return the output states of patched runs, ``(len(cells), positions, width)``, for sample and site of each."""
        by_position: dict[int, list[int]] = defaultdict(list)
        for i in sorted(range(len(cells)), key=lambda i: cells[i][1].layer):
            by_position[self.first_position(*cells[i])].append(i)
        states = self.corrupted.states[torch.tensor([sample for sample, _ in cells])]
        with self.encoder.autocast():
            for first, members in by_position.items():
                states[members, first:] = self.run_from(first, self.make_batch([cells[i] for i in members]))
        return states

    def first_position(self, sample: int, site: TextSite) -> int:
        """Return the first position that the patch changes."""
        return int(self.group_masks[site.place, self.prompt_of[sample]].int().argmax())

    def make_batch(self, cells: Sequence[tuple[int, TextSite]]) -> PatchBatch:
        """Collect the cells in tensors on the encoder's device."""
        samples = torch.tensor([sample for sample, _ in cells])
        prompts, device = self.prompt_of[samples], self.corrupted.states.device
        values = (
            samples,
            prompts,
            torch.tensor([TEXT_KINDS.index(site.kind) for _, site in cells]),
            torch.tensor([site.layer for _, site in cells]),
            torch.tensor([site.stop for _, site in cells]),
            self.group_masks[torch.tensor([site.place for _, site in cells]), prompts],
        )
        return PatchBatch(*(value.to(device) for value in values))

    def run_from(self, first: int, batch: PatchBatch) -> Tensor:
        """Return the output states ``(n, positions - first, width)`` of runs whose patch starts at position ``first``."""
        hidden = self.corrupted.states[batch.samples, first:]
        for layer in range(int(batch.starts[0]), self.encoder.depth):
            started, starting = (int((batch.starts < bound).sum()) for bound in (layer, layer + 1))
            if started:
                hidden[:started] = self.run_layer(layer, first, hidden[:started], batch.select(slice(started)))
            if starting > started:
                new = slice(started, starting)
                hidden[new] = self.run_first_layer(layer, batch.select(new))[:, first:]
        return self.encoder.output_states(hidden)

    def run_layer(self, layer: int, first: int, hidden: Tensor, batch: PatchBatch) -> Tensor:
        """Return the residual stream after a layer past the first patched one."""
        keys, values = self.corrupted.keys_values[layer]
        past = (keys[batch.samples, :, :first], values[batch.samples, :, :first])
        attended, _ = self.encoder.attention(layer, hidden, past)
        hidden = hidden + self.patch_output(attended, self.clean.attention[layer], "self_attention", layer, batch)
        output = self.patch_output(self.encoder.mlp(layer, hidden), self.clean.mlp[layer], "mlp", layer, batch)
        return self.patch_output(hidden + output, self.clean.residual[layer + 1], "residual", layer, batch)

    def run_first_layer(self, layer: int, batch: PatchBatch) -> Tensor:
        """Return the residual stream ``(n, positions, width)`` after the first patched layer.

        Only the patched positions differ from the corrupted run.
        """
        row, position = batch.mask.nonzero(as_tuple=True)
        sample, prompt, kind = batch.samples[row], batch.prompts[row], batch.kinds[row, None]
        attended, output = self.corrupted.attention[layer][sample, position], self.clean.mlp[layer][prompt, position]
        clean_attended = self.clean.attention[layer][prompt, position]
        attended = torch.where(kind == TEXT_KINDS.index("self_attention"), clean_attended, attended)
        middle = self.corrupted.residual[layer][sample, position] + attended
        output = torch.where(kind == TEXT_KINDS.index("mlp"), output, self.encoder.mlp(layer, middle))
        clean_residual = self.clean.residual[layer + 1][prompt, position]
        hidden = self.corrupted.residual[layer + 1][batch.samples]
        hidden[row, position] = torch.where(kind == TEXT_KINDS.index("residual"), clean_residual, middle + output)
        return hidden

    def patch_output(self, output: Tensor, clean: Tensor, kind: TextKind, layer: int, batch: PatchBatch) -> Tensor:
        """Return a block's output with the clean run's at the patched positions, in windows that reach this layer."""
        mask = batch.mask_at(kind, layer)[:, -output.shape[1] :]
        if not mask.any():
            return output
        return torch.where(mask[:, :, None], clean[batch.prompts, -output.shape[1] :], output)


def make_text_patcher(
    encoder: CLIPTextRunner,
    ids: Tensor,
    spans: Tensor,
    corrupted: Tensor,
    prompt_of: Tensor,
    groups: Sequence[TokenGroup],
    length: int | None = None,
) -> TextPatcher:
    """Compute the clean and the corrupted run.

    Args:
        ids: ``(prompts, context)``.
        spans: the corrupted tokens, ``(prompts, context)`` bool.
        corrupted: embeddings ``(samples, context, width)``.
        prompt_of: each sample's prompt, ``(samples,)``.
        length: number of positions to compute; by default all. Later positions do not affect earlier ones.
    """
    return TextPatcher(
        encoder,
        run_with_cache(encoder, encoder.embed(ids[:, :length])),
        run_with_cache(encoder, corrupted[:, :length]),
        prompt_of,
        torch.stack([group.mask[:, :length] for group in groups]),
        spans.int().argmax(1),
    )
