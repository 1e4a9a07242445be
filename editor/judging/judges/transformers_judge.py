"""What the built-in judges share: a transformers model in a folder, its tokenizer, its image processor and its device."""

from abc import abstractmethod
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from api_schemas.judging import ImagePreprocessing
from editor.checkpoints.safe_paths import read_json
from editor.errors import JudgeError
from editor.generation.config import Image
from editor.generation.pipelines.quiet_libraries import quiet_libraries
from editor.io.progress import checked
from editor.judging.judge import JUDGE_SETTING, Judge, judge_weights
from editor.judging.judges.image_processor import read_image_processor
from editor.prompts import Profile

IMAGE_BATCH, TEXT_BATCH = 64, 128
"""Images and texts that are embedded in one batch."""
TOKENIZER_FILE, VOCABULARY_FILES = "tokenizer.json", ("vocab.json", "spiece.model", "tokenizer.model")
"""The whole tokenizer, or its vocabulary. Without either, transformers silently makes an empty tokenizer."""


class TransformersJudge(Judge):
    """A judge whose two encoders are those of a transformers model. Embeddings are returned on the CPU in float32."""

    model_class: ClassVar[str]
    """The model's class in transformers."""
    padding: ClassVar[str]
    """How the text encoder was trained: ``longest`` if padding does not matter, else ``max_length``."""
    lowercase: ClassVar[bool] = False
    """Whether the text encoder was trained on lower-case texts."""

    def __init__(self, folder: Path, profile: Profile) -> None:
        super().__init__(folder, profile)
        self.processor = read_image_processor(folder, read_json(folder / "config.json"))
        self.model: Any = load_model(folder, self.model_class)
        self.tokenizer: Any = load_tokenizer(folder)
        self.context_length = int(self.model.config.text_config.max_position_embeddings)
        check_vocabulary(folder, self.tokenizer, int(self.model.config.text_config.vocab_size))

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "TransformersJudge":
        """Move the model to a device, and convert it to a floating-point type; return this judge."""
        self.model.to(device=device, dtype=dtype)
        return self

    @property
    def preprocessing(self) -> ImagePreprocessing:
        """How images are resized and normalised."""
        return self.processor.describe()

    @abstractmethod
    def text_outputs(self, ids: Tensor) -> Tensor:
        """Return the embeddings ``(n, d)`` of token ids ``(n, length)``."""

    def image_outputs(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the embeddings ``(n, d)`` of processed images."""
        outputs: Tensor = self.model.vision_model(**inputs).pooler_output
        return outputs

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit embeddings of texts; see `Judge.embed_texts`."""
        batches = (self.token_ids(texts[i : i + TEXT_BATCH]) for i in range(0, len(texts), TEXT_BATCH))
        return unit_rows([self.text_outputs(ids.to(self.model.device)) for ids in checked(batches)])

    @torch.no_grad()
    def embed_images(self, images: Sequence[Image]) -> Tensor:
        """Return unit embeddings of images; see `Judge.embed_images`."""
        return unit_rows([self.image_outputs(inputs) for inputs in self.image_batches(images)])

    @torch.no_grad()
    def patch_features(self, images: Sequence[Image]) -> list[Tensor]:
        """Return unit features of the patches; see `Judge.patch_features`."""
        batches = [self.layer_features(inputs) for inputs in self.image_batches(images)]
        return [unit_rows(layer) for layer in zip(*batches, strict=True)]

    def layer_features(self, inputs: dict[str, Tensor]) -> list[Tensor]:
        """Return the features ``(n, patches, width)`` after each layer of the vision encoder."""
        states = self.model.vision_model(**inputs, output_hidden_states=True).hidden_states
        return [self.patches(layer, inputs) for layer in states[1:]]

    def patches(self, states: Tensor, inputs: dict[str, Tensor]) -> Tensor:
        """Return the patches among the positions of the vision encoder."""
        return states

    def token_ids(self, texts: Sequence[str]) -> Tensor:
        """Return token ids ``(n, length)``. Attention masks are left out: the encoders were trained without."""
        texts = [text.lower() for text in texts] if self.lowercase else list(texts)
        encoded = self.tokenizer(
            texts, padding=self.padding, max_length=self.context_length, truncation=True, return_tensors="pt"
        )
        ids: Tensor = encoded["input_ids"]
        return ids

    def image_batches(self, images: Sequence[Image]) -> Iterator[dict[str, Tensor]]:
        """Yield the vision encoder's inputs for at most `IMAGE_BATCH` images at a time, on its device."""
        for start in checked(range(0, len(images), IMAGE_BATCH)):
            inputs = self.processor.process(images[start : start + IMAGE_BATCH])
            inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
            yield {name: tensor.to(self.model.device) for name, tensor in inputs.items()}


def unit_rows(batches: Sequence[Tensor]) -> Tensor:
    """Concatenate batches, and scale their last dimension to length 1, in float32 on the CPU."""
    return F.normalize(torch.cat([batch.float().cpu() for batch in batches]), dim=-1)


def load_model(folder: Path, class_name: str) -> Any:
    """Load a transformers model from safetensors, in float32 and in evaluation mode.

    Raises:
        JudgeError: the weights do not fit the configuration.
    """
    import transformers

    kind = getattr(transformers, class_name)
    options = {"use_safetensors": True, "local_files_only": True, "trust_remote_code": False, "dtype": torch.float32}
    try:
        with quiet_libraries():
            model, report = kind.from_pretrained(
                folder, variant=weights_variant(folder), output_loading_info=True, **options
            )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise JudgeError(
            f"The judge in {folder} can't be loaded: {error}.", field=JUDGE_SETTING, remedy="Download the model again."
        ) from error
    check_complete(folder, class_name, report["missing_keys"])
    return model.eval()


def check_complete(folder: Path, class_name: str, missing: Collection[str]) -> None:
    """Refuse a model that lacks weights, which transformers would initialise at random. Raises JudgeError."""
    if missing:
        raise JudgeError(
            f"The judge in {folder} lacks {len(missing)} tensors of a {class_name}, such as {min(missing)}.",
            field=JUDGE_SETTING,
            remedy="Use the whole model, with its text and image encoders.",
        )


def weights_variant(folder: Path) -> str | None:
    """Return the variant in the name of the weights, such as ``fp16`` of ``model.fp16.safetensors``."""
    name = judge_weights(folder)[0].name.removesuffix(".safetensors").removeprefix("model").lstrip(".")
    return name.split("-")[0] or None


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a judge: by its class, or from ``tokenizer.json`` if the class needs SentencePiece.

    Raises:
        JudgeError: there is no tokenizer, or it can't be read.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    present = [name for name in (TOKENIZER_FILE, *VOCABULARY_FILES) if (folder / name).is_file()]
    kinds = [*([AutoTokenizer] if present else []), *([PreTrainedTokenizerFast] if TOKENIZER_FILE in present else [])]
    reason = "it does not exist"
    for kind in kinds:
        try:
            return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # transformers and tokenizers raise many kinds of exceptions
            reason = str(error)
    raise JudgeError(
        f"The tokenizer of the judge in {folder} can't be read: {reason}.",
        field=JUDGE_SETTING,
        remedy=f"Add the judge's {TOKENIZER_FILE} to the folder, or install sentencepiece.",
    )


def check_vocabulary(folder: Path, tokenizer: Any, size: int) -> None:
    """Refuse a tokenizer with more tokens than the text encoder. Raises JudgeError."""
    if len(tokenizer) > size:
        raise JudgeError(
            f"The tokenizer of the judge in {folder} has {len(tokenizer)} tokens, but the text encoder has {size}.",
            field=JUDGE_SETTING,
            remedy="Use the tokenizer that belongs to this model.",
        )
