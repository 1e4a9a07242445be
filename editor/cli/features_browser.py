"""The browser of a shipped autoencoder, on the artwork and with the judge's texts."""

import numpy as np
import torch
from torch import Tensor

from editor import emoji
from editor.emoji.labelled_composites import Composites
from editor.emoji.profile import PROFILE
from editor.emoji.vocabulary import BACKGROUNDS, OBJECT_NAMES, STYLES
from editor.errors import FeatureError
from editor.features.activations.noised_source import NoisedImages, encode_in_batches
from editor.features.browser import Browsable
from editor.features.browser.latent_cards import Texts
from editor.features.clip import embedded as embedded_clip
from editor.features.clip.image_encoder import open_image_encoder
from editor.features.sae.embedded import FOLDER, SITES, unet_sae
from editor.features.sae.model import read_card
from editor.generation.config import Image, native_precision
from editor.generation.sampling import load_pipeline
from editor.judging.judge import open_judge

VARIANTS = 2
"""Composites of each picture that a page draws from."""


def embedded(module: str) -> Browsable:
    """``module``: ``mid_block``, ``up_blocks.0`` or ``clip_sae``.

    Raises:
        FeatureError: no such autoencoder ships.
    """
    if module == embedded_clip.FOLDER.name:
        return of_embeddings()
    timesteps = dict(SITES)
    if module not in timesteps:
        raise FeatureError(
            f'No autoencoder of "{module}" ships.',
            field="folder",
            remedy=f"Choose from {', '.join((*timesteps, embedded_clip.FOLDER.name))}.",
        )
    pipeline, composites = load_pipeline(emoji.WEIGHTS), Composites(VARIANTS, seed=1)
    pipeline.unet.to(memory_format=torch.channels_last)
    latents, timestep = encode_in_batches(pipeline, composites.images()), timesteps[module]
    source = NoisedImages(pipeline, latents, [module], [timestep], precision=native_precision())

    def maps(items: range) -> Tensor:
        return source.maps(items)[module, timestep].permute(0, 2, 3, 1).float()

    images = as_images(composites.images())
    _, height, width, _ = maps(range(1)).shape
    labels = {kind: own for kind, own in composites.labels.items() if kind != "variant"}
    return Browsable(
        sae=unet_sae(module),
        title=f"the embedded model's {module}, timestep {timestep}",
        card=read_card(FOLDER / module),
        images=images,
        maps=maps,
        grid=(height, width),
        labels=labels,
        texts=texts(images),
    )


def of_embeddings() -> Browsable:
    """The autoencoder of the judge's image embeddings; each is a map of one position."""
    encoder, composites = open_image_encoder(emoji.JUDGE), Composites(VARIANTS, seed=1)
    images = as_images(composites.images())
    return Browsable(
        sae=embedded_clip.clip_sae(),
        title="the judge's image embeddings",
        card=read_card(embedded_clip.FOLDER),
        images=images,
        maps=lambda items: encoder.images(images[items.start : items.stop])[:, None, None],
        grid=(1, 1),
        labels={kind: own for kind, own in composites.labels.items() if kind != "variant"},
        texts=texts(images),
    )


def as_images(pixels: Tensor) -> list[Image]:
    """``(n, 3, h, w)`` in [-1, 1]."""
    return list(((pixels + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy().astype(np.uint8))


def texts(images: list[Image]) -> Texts:
    """Every name of the vocabulary, by the judge: objects, styles and backgrounds in the captions that it knows."""
    judge = open_judge(emoji.JUDGE, emoji.WEIGHTS, PROFILE)
    captions = (
        {name: f"a {name}" for name in OBJECT_NAMES}
        | {f"{style} style": f"an emoji in the style of {style}" for style in STYLES}
        | {f"{colour} background": f"an emoji on a {colour} background" for colour in BACKGROUNDS}
    )
    return Texts(list(captions), judge.texts(list(captions.values())), judge.images(images))
