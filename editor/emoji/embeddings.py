"""Every picture of the artwork as image embeddings: in place and clean, and shifted and roughened as generators draw."""

import torch
from torch import Tensor
from tqdm import tqdm

from editor.emoji.clip import rough, wide_shift
from editor.emoji.samples import Pictures, Subject
from editor.emoji.vocabulary import BACKGROUNDS, OBJECT_NAMES, STYLES
from editor.features.clip.image_encoder import ImageEncoder

VARIANTS = 12
SUBJECTS = tuple(
    Subject(o, s, b) for b in range(len(BACKGROUNDS)) for o in range(len(OBJECT_NAMES)) for s in range(len(STYLES))
)
"""All there are, in the order of the embeddings."""


def embed_artwork(encoder: ImageEncoder, variants: int = VARIANTS, seed: int = 0) -> Tensor:
    """``(subjects, variants, d)``; of each subject the first is clean and in place."""
    pictures, generator = Pictures(), torch.Generator().manual_seed(seed)
    one_background = len(OBJECT_NAMES) * len(STYLES)

    def embedded(subjects: tuple[Subject, ...], variant: int) -> Tensor:
        shift = wide_shift(generator) if variant else (0, 0)
        pixels = pictures.of(list(subjects), shift)
        return encoder.embed(((rough(pixels, generator) if variant else pixels) + 1) / 2)

    parts = [SUBJECTS[i : i + one_background] for i in range(0, len(SUBJECTS), one_background)]
    return torch.cat(
        [torch.stack([embedded(part, v) for v in range(variants)], 1) for part in tqdm(parts, desc="embeddings")]
    )
