"""A minimal base model: an index, a tokenizer with one token per word, and bytes as weights."""

import json
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

CONTEXT_LENGTH = 24
LONGEST_PHRASE = CONTEXT_LENGTH - 2 - 8
WEIGHTS = "text_encoder/model.safetensors"


def write_model(folder: Path) -> Path:
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps({"model_max_length": CONTEXT_LENGTH}))
    tokenizer = Tokenizer(WordLevel({"?": 0}, unk_token="?"))
    tokenizer.pre_tokenizer = Whitespace()
    (folder / WEIGHTS).parent.mkdir()
    (folder / WEIGHTS).write_bytes(b"weights" * 1000)
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    return folder
