"""Read a text encoder on disk or in memory: the states of prompts, and tensors by name."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from editor.checkpoints import Denoiser, TextEncoder
from editor.checkpoints.tokenizers import open_prompt_tokenizer
from editor.errors import CheckpointError
from editor.prompts.textual_inversion import expand_all
from editor.sites.final_states import EncoderUpdates
from editor.sites.lazy_clip import LazyCLIPTextModel


class EncoderReader(Protocol):
    """A text encoder, on disk or in memory."""

    def states(self, prompts: Sequence[str]) -> Tensor:
        """Return the last hidden states at EOS, after the final norm, (prompts, width) float32."""

    def tensor(self, name: str) -> Tensor | None:
        """Return a tensor by its canonical name, or None if it cannot be read by itself."""

    def effective_weight(self, name: str) -> Tensor | None:
        """Return a weight with the adapters that are active on it, or None if it cannot be read."""


@dataclass(frozen=True)
class StoredEncoder:
    """A text encoder on disk, read tensor by tensor. ``edits``: updates of output projections."""

    encoder: TextEncoder
    edits: EncoderUpdates = field(default_factory=dict)

    def states(self, prompts: Sequence[str]) -> Tensor:
        """See :class:`EncoderReader`."""
        ids, ends = tokenize(open_prompt_tokenizer(self.encoder), prompts)
        read = ids[:, : int(ends.max()) + 1]  # attention is causal: later positions do not change the state at EOS
        final = LazyCLIPTextModel(self.encoder, self.edits, dtype=torch.float32).final_states(read)
        return final[torch.arange(len(ids)), ends]

    def tensor(self, name: str) -> Tensor | None:
        """See :class:`EncoderReader`."""
        try:
            return self.encoder.tensor(name)
        except CheckpointError:
            return None

    def effective_weight(self, name: str) -> Tensor | None:
        """See :class:`EncoderReader`. A stored encoder has no adapters."""
        return self.tensor(name)


@dataclass(frozen=True)
class StoredDenoiser:
    """A denoiser on disk: only its tensors can be compared."""

    denoiser: Denoiser

    def states(self, prompts: Sequence[str]) -> Tensor:
        """See :class:`EncoderReader`. A denoiser has no canaries."""
        raise NotImplementedError

    def tensor(self, name: str) -> Tensor | None:
        """See :class:`EncoderReader`."""
        return self.denoiser.tensor(name) if name in self.denoiser.locations else None

    def effective_weight(self, name: str) -> Tensor | None:
        """See :class:`EncoderReader`. A stored denoiser has no adapters."""
        return self.tensor(name)


@dataclass(frozen=True)
class LoadedEncoder:
    """A transformers module, with any LoRA that was loaded or fused into it."""

    module: Any
    tokenizer: Any

    def states(self, prompts: Sequence[str]) -> Tensor:
        """See :class:`EncoderReader`."""
        ids, ends = tokenize(self.tokenizer, prompts)
        with torch.no_grad():
            final = self.module(ids.to(self.module.device)).last_hidden_state.float().cpu()
        rows: Tensor = final[torch.arange(len(ids)), ends]
        return rows

    def tensor(self, name: str) -> Tensor | None:
        """See :class:`EncoderReader`. Some versions of transformers leave the prefix out."""
        tensors = self.module.state_dict()
        found = tensors.get(name, tensors.get(name.removeprefix("text_model.")))
        return None if found is None else found.detach().cpu()

    def effective_weight(self, name: str) -> Tensor | None:
        """See :class:`EncoderReader`. PEFT wraps a module that has adapters, and keeps its weight in ``base_layer``."""
        stored = self.tensor(name)
        if stored is not None:
            return stored
        modules = dict(self.module.named_modules())
        path = name.removesuffix(".weight")
        layer: Any = modules.get(path, modules.get(path.removeprefix("text_model.")))
        if not hasattr(layer, "get_delta_weight"):
            return None
        active = (
            [] if layer.merged or layer.disable_adapters else [a for a in layer.active_adapters if a in layer.lora_A]
        )
        weight: Tensor = layer.get_base_layer().weight.detach().double().cpu()
        for adapter in active:
            weight = weight + layer.get_delta_weight(adapter).detach().double().cpu()
        return weight


def tokenize(tokenizer: Any, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return token ids ``(n, context)`` as a pipeline would, and the position of EOS in each row."""
    encoded = tokenizer(
        expand_all(prompts, tokenizer),
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    ids: Tensor = encoded.input_ids
    return ids, (ids == tokenizer.eos_token_id).int().argmax(1)
