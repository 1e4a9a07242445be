"""CLIP's tokenizer without transformers, whose import takes longer than an edit.

It reads texts exactly as ``transformers.CLIPTokenizer`` does with the same vocabulary, and has the part of its interface that
prompts need.
"""

from collections.abc import Sequence
from typing import Any, Literal

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
WORD_PATTERN = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
WORD_END = "</w>"
Merges = list[tuple[str, str]]


class Encoding(dict[str, Any]):
    """The result of tokenizing; ``input_ids`` is also an attribute."""

    @property
    def input_ids(self) -> Any:
        """The token ids."""
        return self["input_ids"]


class PromptTokenizer:
    """A CLIP tokenizer for prompts."""

    def __init__(
        self, vocabulary: dict[str, int], merges: Merges, special: Sequence[AddedToken], pad: str, length: int
    ) -> None:
        self.backend = build_backend(vocabulary, merges, special)
        self.model_max_length = length
        self.bos_token, self.eos_token, self.unk_token, self.pad_token = BOS, EOS, EOS, pad
        self.added_tokens_encoder = {token.content: vocabulary[token.content] for token in special}
        self.bos_token_id, self.eos_token_id, self.pad_token_id = (vocabulary[token] for token in (BOS, EOS, pad))
        self.all_special_ids = list(dict.fromkeys([self.bos_token_id, self.eos_token_id, self.pad_token_id]))

    def __len__(self) -> int:
        """Return the number of tokens."""
        return self.backend.get_vocab_size()

    def __call__(
        self,
        texts: str | Sequence[str],
        *,
        padding: bool | Literal["longest", "max_length"] = False,
        max_length: int | None = None,
        truncation: bool = False,
        return_tensors: Literal["pt"] | None = None,
        return_offsets_mapping: bool = False,
        return_attention_mask: bool = True,
        verbose: bool = True,
    ) -> Encoding:
        """Tokenize one text or several, with BOS and EOS; the arguments are those of transformers' tokenizers."""
        single, limit = isinstance(texts, str), max_length or self.model_max_length
        encoded = self.backend.encode_batch([texts] if isinstance(texts, str) else list(texts))
        ids, spans = [one.ids for one in encoded], [one.offsets for one in encoded]
        if truncation:
            ids, spans = [truncate(row, limit) for row in ids], [truncate(row, limit) for row in spans]
        columns: dict[str, Any] = {"input_ids": ids}
        if return_attention_mask:
            columns["attention_mask"] = [[1] * len(row) for row in ids]
        if return_offsets_mapping:
            columns["offset_mapping"] = spans
        if padding:
            width = limit if padding == "max_length" else max(map(len, ids), default=0)
            fill = {"input_ids": self.pad_token_id, "attention_mask": 0, "offset_mapping": (0, 0)}
            columns = {
                name: [row + [fill[name]] * (width - len(row)) for row in rows] for name, rows in columns.items()
            }
        if return_tensors:
            import torch

            return Encoding({name: torch.tensor(rows) for name, rows in columns.items()})
        return Encoding({name: rows[0] if single else rows for name, rows in columns.items()})

    def get_vocab(self) -> dict[str, int]:
        """Return the id of each token."""
        return self.backend.get_vocab()

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids."""
        return self.backend.decode(list(ids), skip_special_tokens=False).replace(WORD_END, " ").strip()

    def convert_ids_to_tokens(self, ids: int | Sequence[int]) -> Any:
        """Return the token of an id, or the tokens of several."""
        return self.backend.id_to_token(ids) if isinstance(ids, int) else [*map(self.backend.id_to_token, ids)]


def truncate(row: list[Any], limit: int) -> list[Any]:
    """Return a row of at most ``limit`` entries, which ends like the whole row: with EOS."""
    return row if len(row) <= limit else [*row[: limit - 1], row[-1]]


def build_backend(vocabulary: dict[str, int], merges: Merges, special: Sequence[AddedToken]) -> Tokenizer:
    """Build the pipeline of ``transformers.CLIPTokenizer`` (5.x)."""
    backend = Tokenizer(
        BPE(
            vocab=vocabulary,
            merges=merges,
            continuing_subword_prefix="",
            end_of_word_suffix=WORD_END,
            fuse_unk=False,
            unk_token=EOS,
        )
    )
    backend.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = pre_tokenizers.Split(Regex(WORD_PATTERN), behavior="removed", invert=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(special))
    backend.post_processor = processors.RobertaProcessing(
        (EOS, vocabulary[EOS]), (BOS, vocabulary[BOS]), trim_offsets=False, add_prefix_space=False
    )
    return backend


def special_token(text: str, *, normalized: bool = False) -> AddedToken:
    """Return a token that is matched literally, before words are split."""
    return AddedToken(text, special=True, normalized=normalized)
