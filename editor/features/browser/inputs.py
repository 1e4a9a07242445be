"""Load the inputs of a browser page from folders."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editor.errors import FeatureError
from editor.features.activations import ActivationStore
from editor.features.browser.latent_cards import BrowserInput, TextEmbeddings
from editor.features.image_folder import list_images, read_image
from editor.features.sae.interop import read_any
from editor.features.sae.model import CONFIG_FILE, read_card
from editor.generation.config import Image

TEXT_BATCH = 256


def load_browser_input(
    folder: Path, recording: Path, images: Path, clip: Path | None = None, words: Path | None = None
) -> BrowserInput:
    """Load an autoencoder, recorded activations, and the recorded images in alphabetical order.

    Args:
        folder: the autoencoder, in our layout or another tool's.
        recording: an activation store with pooling ``patch``.
        images: the folder that was recorded.
        clip: a CLIPModel with its tokenizer, for nearest texts.
        words: a file of candidate texts, one per line; default: the labels of the recording.

    Raises:
        FeatureError: the number of images differs from the recording, or the recording is pooled.
    """
    store = ActivationStore(recording)
    maps = store.maps()
    pixels = [read_image(path) for path in list_images(images)]
    if len(pixels) != len(maps):
        raise FeatureError(
            f"{len(maps)} images were recorded, but {images.name} contains {len(pixels)}.",
            field="images",
            remedy="Name the folder that was recorded, unchanged.",
        )
    sae = read_any(folder)
    card = read_card(folder) if (folder / CONFIG_FILE).is_file() else {}
    return BrowserInput(
        sae=sae,
        title=f"{store.manifest.module}, timestep {store.manifest.timestep}",
        card=card,
        images=pixels,
        maps=lambda items: maps[items.start : items.stop].permute(0, 2, 3, 1),
        grid=store.manifest.grid,
        labels=shared_labels(store.item_labels),
        texts=embed_texts(clip, pixels, read_words(words, store.item_labels)) if clip else None,
    )


def shared_labels(labels: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the kinds of labels that have several values and are shared by several images."""
    return {kind: values for kind, values in labels.items() if 1 < len(set(values)) < len(values)}


def read_words(words: Path | None, labels: dict[str, list[str]]) -> list[str]:
    """Read candidate texts from a file, one per line; without a file, return every label."""
    if words is not None:
        return [line.strip() for line in words.read_text().splitlines() if line.strip()]
    return sorted({label for values in shared_labels(labels).values() for label in values})


def embed_texts(folder: Path, images: Sequence[Image], words: Sequence[str]) -> TextEmbeddings:
    """Embed words and images with a CLIP model."""
    from transformers import CLIPModel, CLIPTokenizer

    from editor.features.clip.image_encoder import open_image_encoder

    clip = CLIPModel.from_pretrained(folder, use_safetensors=True).eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    return TextEmbeddings(
        list(words), embed_words(clip, tokenizer, words), open_image_encoder(folder).embed_images(images)
    )


@torch.no_grad()
def embed_words(clip: Any, tokenizer: Any, words: Sequence[str]) -> Tensor:
    """Embed words as ``(words, d)``."""
    parts = []
    for start in range(0, len(words), TEXT_BATCH):
        batch = list(words[start : start + TEXT_BATCH])
        ids = tokenizer(batch, padding=True, truncation=True, return_tensors="pt")
        parts.append(clip.text_projection(clip.text_model(**ids).pooler_output))
    return torch.cat(parts)
