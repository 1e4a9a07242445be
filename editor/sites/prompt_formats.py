"""How the pipelines of diffusers (0.42) give prompts to T5 and to language models, by family.

A language model gets a prompt with text around it. Its denoiser reads all of these rows, or those from some token on.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from editor.checkpoints.key_mapping import Family

QWEN_IMAGE_SKIPPED = 34
"""Tokens of Qwen-Image's format that its pipeline drops (``prompt_template_encode_start_idx``)."""


@dataclass(frozen=True)
class PromptFormat:
    """How one family's pipeline gives a prompt to its encoder."""

    before: str = ""
    """Text before every prompt."""
    after: str = ""
    read_from: Literal["first", "last", "fixed"] = "first"
    """Which tokens of ``before`` the denoiser reads: all, only its first and last token, or none of a fixed number."""
    lowercase: bool = False
    padding_rows: int | None = None
    """Rows of padding that the denoiser reads, of an encoder whose padding is masked. None: all rows, and no mask."""
    has_end: bool = True
    """Whether tokens of their own end the prompt."""
    is_causal: bool = False
    """Whether a token attends to earlier ones only."""
    layer: int | None = None
    """Index of the hidden states that the denoiser reads; None for the final ones."""

    @property
    def reads_padding(self) -> bool:
        """Whether the denoiser reads all of the padding, which nothing masks."""
        return self.padding_rows is None

    def complete(self, text: str) -> str:
        """Return a prompt as the encoder reads it."""
        return f"{self.before}{text.lower().strip() if self.lowercase else text}{self.after}"

    def skipped(self, tokens: int) -> slice:
        """Return the tokens that the denoiser does not read, of those of ``before``."""
        if self.read_from == "last":
            return slice(1, max(tokens - 1, 1))
        return slice(0, QWEN_IMAGE_SKIPPED if self.read_from == "fixed" else 0)

    def states_of(self, encoder: Any, ids: Tensor, **more: Any) -> tuple[Tensor, Any]:
        """Run an encoder, and return the states that the denoiser reads, (prompts, tokens, width), with the cache of keys."""
        output = encoder(ids, output_hidden_states=self.layer is not None, **more)
        states = output[0] if self.layer is None else output.hidden_states[self.layer]
        return states, getattr(output, "past_key_values", None)


PLAIN_FORMAT = PromptFormat()
"""T5 in Stable Diffusion 3 and FLUX.1."""


def sana_format(tokenizer: Path) -> PromptFormat:
    """Return Sana's: an instruction, the default of its pipeline's call."""
    from diffusers import SanaPipeline

    lines: list[str] = inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"].default
    return PromptFormat("\n".join(lines), "", "last", True, padding_rows=0, has_end=False, is_causal=True)


def lumina2_format(tokenizer: Path) -> PromptFormat:
    """Return Lumina 2's: a sentence, all of which the denoiser reads."""
    from diffusers import Lumina2Pipeline

    pipeline = Lumina2Pipeline(None, None, None, None, None)
    before = f"{pipeline.system_prompt} <Prompt Start> "
    return PromptFormat(before, padding_rows=0, has_end=False, is_causal=True, layer=-2)


def qwen_image_format(tokenizer: Path) -> PromptFormat:
    """Return Qwen-Image's: a conversation, of which the denoiser reads the prompt and what follows it."""
    from diffusers import QwenImagePipeline

    template = QwenImagePipeline(None, None, None, None, None).prompt_template_encode
    before, after = template.split("{}")
    return PromptFormat(before, after, "fixed", padding_rows=0, is_causal=True)


def z_image_format(tokenizer: Path) -> PromptFormat:
    """Return Z-Image's: a turn of a conversation, in the form that the tokenizer states."""
    turn = load_tokenizer(tokenizer).apply_chat_template(
        [{"role": "user", "content": "{}"}], tokenize=False, add_generation_prompt=True, enable_thinking=True
    )
    before, after = turn.split("{}")
    return PromptFormat(before, after, padding_rows=0, is_causal=True, layer=-2)


@cache
def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of an encoder."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


FORMATS: Mapping[Family, Callable[[Path], PromptFormat]] = {
    "pixart": lambda _: PromptFormat(lowercase=True, padding_rows=0),
    "chroma": lambda _: PromptFormat(padding_rows=1),
    "sana": sana_format,
    "lumina2": lumina2_format,
    "qwen-image": qwen_image_format,
    "z-image": z_image_format,
}


@cache
def prompt_format(family: Family, tokenizer: Path) -> PromptFormat:
    """Return the format of a family, whose tokenizer is in a folder."""
    return FORMATS[family](tokenizer) if family in FORMATS else PLAIN_FORMAT
