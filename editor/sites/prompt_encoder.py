"""Text encoders that read a prompt whole, T5 or a language model, run by transformers as their pipelines run them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from editor.checkpoints.safe_paths import chosen_variant, find_weights, variant_of
from editor.sites.prompt_formats import PLAIN_FORMAT, PromptFormat, load_tokenizer

CACHED_TEXTS = 4096
"""Tokenized texts that a process keeps: the tokens of a prompt are asked for several times."""


@dataclass(frozen=True)
class PromptEncoder:
    """An encoder on disk, loaded when it is first used."""

    folder: Path
    tokenizer_folder: Path
    length: int
    """Most rows of a prompt, to which its pipeline pads."""
    format: PromptFormat = PLAIN_FORMAT
    device: str = "cpu"

    @property
    def tokenizer(self) -> Any:
        """The tokenizer."""
        return load_tokenizer(self.tokenizer_folder)

    @cached_property
    def skipped(self) -> slice:
        """The tokens of the format that the denoiser does not read."""
        return self.format.skipped(len(tokenize(self.tokenizer_folder, self.format.before, None)))

    @property
    def limit(self) -> int:
        """Most tokens of a prompt with its format."""
        skipped: int = self.skipped.stop - self.skipped.start
        return self.length + skipped

    @cached_property
    def constant_rows(self) -> int:
        """First rows, which are the same for every prompt."""
        columns = zip(*(self.ids(text) for text in ("a", "0")), strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], columns)) if self.format.is_causal else 0

    def ids(self, text: str) -> list[int]:
        """Return the tokens of a prompt's rows up to its end, without padding."""
        tokens = list(tokenize(self.tokenizer_folder, self.format.complete(text), self.limit))
        del tokens[self.skipped]
        return tokens

    def states(self, texts: Sequence[str]) -> Tensor:
        """Return the rows of prompts, (prompts, rows, width) float32; masked padding is as short as possible.

        What precedes every prompt passes a causal encoder once, as no token of it attends to what follows.
        """
        tokens = self.tokenizer(
            [self.format.complete(text) for text in texts],
            padding="max_length" if self.format.reads_padding else "longest",
            padding_side="right",
            truncation=True,
            max_length=self.limit,
            return_tensors="pt",
        ).to(self.device)
        ids, mask, rows = tokens.input_ids, tokens.attention_mask, self.format.padding_rows or 0
        ids, mask = pad(ids, (0, rows), value=self.tokenizer.pad_token_id), pad(mask, (0, rows))
        states = self._run(ids, None if self.format.reads_padding else mask).float().cpu()
        return torch.cat([states[:, : self.skipped.start], states[:, self.skipped.stop :]], dim=1)

    def _run(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """Return the states of all tokens, (prompts, tokens, width)."""
        encoder, shared = load_encoder(self.folder, self.device), self.skipped.stop if self.format.is_causal else 0
        if not shared:
            return self.format.states_of(encoder, ids, attention_mask=mask)[0]
        first, keys = self.format.states_of(encoder, ids[:1, :shared], use_cache=True)
        keys.batch_repeat_interleave(len(ids))
        rest, _ = self.format.states_of(encoder, ids[:, shared:], attention_mask=mask, past_key_values=keys)
        return torch.cat([first.expand(len(ids), -1, -1), rest], dim=1)


@lru_cache(CACHED_TEXTS)
def tokenize(folder: Path, text: str, limit: int | None) -> tuple[int, ...]:
    """Return the tokens of a text, at most ``limit`` if there is one."""
    return tuple(load_tokenizer(folder)(text, truncation=limit is not None, max_length=limit).input_ids)


@lru_cache(maxsize=1)
def load_encoder(folder: Path, device: str) -> Any:
    """Load an encoder in the precision of its files. It stays in memory until `release_encoder`.

    Raises:
        CheckpointError: the folder has no safetensors files, or they are outside of the model's folder.
    """
    from transformers import AutoConfig, AutoModel, T5EncoderModel

    is_t5 = AutoConfig.from_pretrained(folder, local_files_only=True).model_type == "t5"
    variant = variant_of(find_weights(folder.parent, folder, variant=chosen_variant())[0])
    settings = {"local_files_only": True, "use_safetensors": True, "dtype": "auto", "variant": variant}
    return (T5EncoderModel if is_t5 else AutoModel).from_pretrained(folder, **settings).to(device).eval()


def release_encoder() -> None:
    """Free the memory of the encoder that was loaded last: T5-XXL has 10 GB."""
    load_encoder.cache_clear()
