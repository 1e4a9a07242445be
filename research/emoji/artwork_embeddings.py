"""Image embeddings of all artwork, clean, and shifted and degraded like generated images. Imported, not run."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor
from tqdm import tqdm

from editor import emoji
from editor.emoji.composites import Artwork, Subject
from editor.emoji.vocabulary import BACKGROUNDS, OBJECT_NAMES, STYLES
from editor.features.clip.image_encoder import ImageEncoder, open_image_encoder
from editor.io.atomic import write_bytes
from research.emoji.train_clip import degrade, random_wide_shift

VARIANTS = 12
SUBJECTS = tuple(
    Subject(o, s, b) for b in range(len(BACKGROUNDS)) for o in range(len(OBJECT_NAMES)) for s in range(len(STYLES))
)
"""All subjects, in the order of the embeddings."""


def embed_artwork(encoder: ImageEncoder, variants: int = VARIANTS, seed: int = 0) -> Tensor:
    """Embed all artwork, ``(subjects, variants, d)``; the first variant of each subject is clean and centred."""
    pictures, generator = Artwork(), torch.Generator().manual_seed(seed)
    one_background = len(OBJECT_NAMES) * len(STYLES)

    def embed_variant(subjects: tuple[Subject, ...], variant: int) -> Tensor:
        shift = random_wide_shift(generator) if variant else (0, 0)
        pixels = pictures.render(list(subjects), shift)
        return encoder.embed_pixels(((degrade(pixels, generator) if variant else pixels) + 1) / 2)

    parts = [SUBJECTS[i : i + one_background] for i in range(0, len(SUBJECTS), one_background)]
    return torch.cat(
        [torch.stack([embed_variant(part, v) for v in range(variants)], 1) for part in tqdm(parts, desc="embeddings")]
    )


def artwork_embeddings(folder: Path) -> Tensor:
    """Return the judge's embeddings of all artwork, cached in ``folder``."""
    file = folder / "clip_embeddings.safetensors"
    if not file.exists():
        write_bytes(file, save({"rows": embed_artwork(open_image_encoder(emoji.JUDGE))}))
    return load_file(file)["rows"]


def make_labels(variants: int) -> dict[str, list[str]]:
    """Return the labels of each row of embeddings whose first two dimensions are flattened."""
    by_row = [subject for subject in SUBJECTS for _ in range(variants)]
    return {
        "object": [OBJECT_NAMES[subject.object] for subject in by_row],
        "style": [STYLES[subject.style] for subject in by_row],
        "background": [tuple(BACKGROUNDS)[subject.background] for subject in by_row],
    }
