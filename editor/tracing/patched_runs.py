"""Restored runs of a text encoder, many sites at a time.

What a restoration can't reach is never computed again: of the corrupted run, the layers before the site, and in later layers
the positions before it (their keys and values are kept). Rows that start at the same position run together: each layer takes
those that started before it, and those that start there join.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from editor.generation.clip_runner import CLIPTextRunner, KeysValues
from editor.tracing.sites import TEXT_KINDS, TextKind, TextSite
from editor.tracing.traced_prompts import Place


@dataclass(frozen=True)
class Run:
    """Activations of a whole run, by layer; each tensor ``(rows, positions, width)``."""

    inputs: list[Tensor]
    """The residual stream before each layer, and after the last."""
    attention: list[Tensor]
    mlp: list[Tensor]
    past: list[KeysValues]
    states: Tensor
    """What the image half reads."""


@torch.no_grad()
def run(tower: CLIPTextRunner, embedded: Tensor) -> Run:
    """Run embeddings ``(rows, positions, width)`` through the encoder, and keep everything."""
    inputs, attention, mlp, past = [embedded], [], [], []
    with tower.autocast():
        for layer in range(tower.depth):
            attended, keys_values = tower.attention(layer, inputs[-1])
            middle = inputs[-1] + attended
            output = tower.mlp(layer, middle)
            inputs.append(middle + output)
            attention.append(attended)
            mlp.append(output)
            past.append(keys_values)
        return Run(inputs, attention, mlp, past, tower.output_states(inputs[-1]))


@dataclass(frozen=True)
class Rows:
    """Restored runs that start together; ``n`` of them."""

    samples: Tensor
    """``(n,)``: row of the corrupted run."""
    prompts: Tensor
    """``(n,)``: row of the clean run."""
    kinds: Tensor
    """``(n,)``: index into ``TEXT_KINDS``."""
    starts: Tensor
    """``(n,)``: the first restored layer, in ascending order."""
    stops: Tensor
    """``(n,)``: the layer after the last restored one."""
    mask: Tensor
    """``(n, positions)`` bool: what is restored."""

    def restored(self, kind: TextKind, layer: int) -> Tensor:
        """``(n, positions)`` bool: where this block of this layer is put back."""
        chosen = (self.kinds == TEXT_KINDS.index(kind)) & (self.stops > layer)
        return self.mask & chosen[:, None]


@dataclass(frozen=True)
class TextGrid:
    """The clean and the corrupted run of one encoder, from which restored runs start."""

    tower: CLIPTextRunner
    clean: Run
    """Of the prompts."""
    corrupted: Run
    """Of the samples."""
    prompt_of: Tensor
    """``(samples,)``"""
    places: Tensor
    """``(places, prompts, positions)`` bool."""
    first_corrupted: Tensor
    """``(prompts,)``: first position that the corruption changes."""

    @torch.no_grad()
    def restored(self, cells: Sequence[tuple[int, TextSite]]) -> Tensor:
        """States ``(len(cells), positions, width)`` of the restored runs: sample and site of each."""
        groups: dict[int, list[int]] = defaultdict(list)
        for i in sorted(range(len(cells)), key=lambda i: cells[i][1].layer):
            groups[self.first(*cells[i])].append(i)
        out = self.corrupted.states[torch.tensor([sample for sample, _ in cells])]
        with self.tower.autocast():
            for first, members in groups.items():
                out[members, first:] = self.resumed(first, self.rows([cells[i] for i in members]))
        return out

    def first(self, sample: int, site: TextSite) -> int:
        """The first position that a restoration changes."""
        return int(self.places[site.place, self.prompt_of[sample]].int().argmax())

    def rows(self, cells: Sequence[tuple[int, TextSite]]) -> Rows:
        """The cells as tensors."""
        samples = torch.tensor([sample for sample, _ in cells])
        prompts = self.prompt_of[samples]
        return Rows(
            samples,
            prompts,
            torch.tensor([TEXT_KINDS.index(site.kind) for _, site in cells]),
            torch.tensor([site.layer for _, site in cells]),
            torch.tensor([site.stop for _, site in cells]),
            self.places[torch.tensor([site.place for _, site in cells]), prompts],
        )

    def resumed(self, first: int, rows: Rows) -> Tensor:
        """States ``(n, positions - first, width)`` of runs whose restoration begins at position ``first``."""
        hidden = self.corrupted.states[rows.samples, first:]
        for layer in range(int(rows.starts[0]), self.tower.depth):
            before, after = (int((rows.starts < bound).sum()) for bound in (layer, layer + 1))
            if before:
                hidden[:before] = self.through(layer, first, hidden[:before], pick(rows, slice(before)))
            if after > before:
                hidden[before:after] = self.entered(layer, pick(rows, slice(before, after)))[:, first:]
        return self.tower.output_states(hidden)

    def through(self, layer: int, first: int, hidden: Tensor, rows: Rows) -> Tensor:
        """The residual stream after a layer that comes after the rows' first."""
        keys, values = self.corrupted.past[layer]
        past = (keys[rows.samples, :, :first], values[rows.samples, :, :first])
        attended, _ = self.tower.attention(layer, hidden, past)
        hidden = hidden + self.put_back(attended, self.clean.attention[layer], "self_attention", layer, rows)
        output = self.put_back(self.tower.mlp(layer, hidden), self.clean.mlp[layer], "mlp", layer, rows)
        return self.put_back(hidden + output, self.clean.inputs[layer + 1], "residual", layer, rows)

    def entered(self, start: int, rows: Rows) -> Tensor:
        """The residual stream ``(n, positions, width)`` after layer ``start``: corrupted but at the restored places."""
        row, position = rows.mask.nonzero(as_tuple=True)
        sample, prompt, kind = rows.samples[row], rows.prompts[row], rows.kinds[row, None]
        attended, output = self.corrupted.attention[start][sample, position], self.clean.mlp[start][prompt, position]
        clean_attended = self.clean.attention[start][prompt, position]
        attended = torch.where(kind == TEXT_KINDS.index("self_attention"), clean_attended, attended)
        middle = self.corrupted.inputs[start][sample, position] + attended
        output = torch.where(kind == TEXT_KINDS.index("mlp"), output, self.tower.mlp(start, middle))
        whole = self.clean.inputs[start + 1][prompt, position]
        hidden = self.corrupted.inputs[start + 1][rows.samples]
        hidden[row, position] = torch.where(kind == TEXT_KINDS.index("residual"), whole, middle + output)
        return hidden

    def put_back(self, output: Tensor, clean: Tensor, kind: TextKind, layer: int, rows: Rows) -> Tensor:
        """A block's output with the clean run's at the restored places, in windows that reach this layer."""
        where = rows.restored(kind, layer)[:, -output.shape[1] :]
        if not where.any():
            return output
        return torch.where(where[:, :, None], clean[rows.prompts, -output.shape[1] :], output)


def pick(rows: Rows, chosen: slice) -> Rows:
    """Some of the rows."""
    return Rows(*(getattr(rows, field.name)[chosen] for field in fields(rows)))


def text_grid(
    tower: CLIPTextRunner,
    ids: Tensor,
    spans: Tensor,
    corrupted: Tensor,
    prompt_of: Tensor,
    places: Sequence[Place],
    length: int | None = None,
) -> TextGrid:
    """Make the two runs.

    Args:
        ids: ``(prompts, context)``.
        spans: ``(prompts, context)`` bool: where the corruption is.
        corrupted: embeddings ``(samples, context, width)``.
        prompt_of: ``(samples,)``.
        length: positions to compute, all by default. Nothing that is computed depends on what is left out.
    """
    return TextGrid(
        tower,
        run(tower, tower.embed(ids[:, :length])),
        run(tower, corrupted[:, :length]),
        prompt_of,
        torch.stack([place.mask[:, :length] for place in places]),
        spans.int().argmax(1),
    )
