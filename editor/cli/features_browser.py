"""Data for the feature browser of the autoencoders that ship with the embedded model."""

import numpy as np
import torch
from torch import Tensor

from editor import emoji
from editor.emoji.labelled_composites import LabelledComposites
from editor.emoji.profile import PROFILE
from editor.emoji.vocabulary import BACKGROUNDS, OBJECT_NAMES, STYLES
from editor.errors import FeatureError
from editor.features.activations.noised_source import NoisedImages, encode_pixels
from editor.features.browser import BrowserInput
from editor.features.browser.latent_cards import TextEmbeddings
from editor.features.clip import embedded as embedded_clip
from editor.features.clip.image_encoder import open_image_encoder
from editor.features.sae.embedded import BLOCK_TIMESTEPS, UNET_SAE_FOLDER, unet_sae
from editor.features.sae.model import read_card
from editor.generation.config import Image, native_precision
from editor.generation.pipelines import load_pipeline
from editor.judging.judge import open_judge

VARIANTS = 2
"""Composites of each picture that a page draws from."""


def embedded_sae_input(module: str) -> BrowserInput:
    """Return the browser input of a packaged autoencoder: ``mid_block``, ``up_blocks.0`` or ``clip_sae``.

    Raises:
        FeatureError: no such autoencoder ships.
    """
    if module == embedded_clip.CLIP_SAE_FOLDER.name:
        return clip_sae_input()
    timesteps = dict(BLOCK_TIMESTEPS)
    if module not in timesteps:
        raise FeatureError(
            f'No autoencoder of "{module}" ships.',
            field="folder",
            remedy=f"Choose from {', '.join((*timesteps, embedded_clip.CLIP_SAE_FOLDER.name))}.",
        )
    pipeline, composites = load_pipeline(emoji.WEIGHTS), LabelledComposites(VARIANTS, seed=1)
    pipeline.unet.to(memory_format=torch.channels_last)
    latents, timestep = encode_pixels(pipeline, composites.images()), timesteps[module]
    source = NoisedImages(pipeline, latents, [module], [timestep], precision=native_precision())

    def maps(items: range) -> Tensor:
        return source.maps(items)[module, timestep].permute(0, 2, 3, 1).float()

    images = to_uint8_images(composites.images())
    _, height, width, _ = maps(range(1)).shape
    labels = {kind: own for kind, own in composites.labels.items() if kind != "variant"}
    return BrowserInput(
        sae=unet_sae(module),
        title=f"the embedded model's {module}, timestep {timestep}",
        card=read_card(UNET_SAE_FOLDER / module),
        images=images,
        maps=maps,
        grid=(height, width),
        labels=labels,
        texts=embed_vocabulary(images),
    )


def clip_sae_input() -> BrowserInput:
    """Return the browser input of the judge's autoencoder. Each image embedding is a map of one position."""
    encoder, composites = open_image_encoder(emoji.JUDGE), LabelledComposites(VARIANTS, seed=1)
    images = to_uint8_images(composites.images())
    return BrowserInput(
        sae=embedded_clip.clip_sae(),
        title="the judge's image embeddings",
        card=read_card(embedded_clip.CLIP_SAE_FOLDER),
        images=images,
        maps=lambda items: encoder.embed_images(images[items.start : items.stop])[:, None, None],
        grid=(1, 1),
        labels={kind: own for kind, own in composites.labels.items() if kind != "variant"},
        texts=embed_vocabulary(images),
    )


def to_uint8_images(pixels: Tensor) -> list[Image]:
    """Convert pixels ``(n, 3, h, w)`` in [-1, 1] to images."""
    return list(((pixels + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy().astype(np.uint8))


def embed_vocabulary(images: list[Image]) -> TextEmbeddings:
    """Embed the images, and a caption of each object, style and background, with the judge."""
    judge = open_judge(emoji.JUDGE, emoji.WEIGHTS, PROFILE)
    captions = (
        {name: f"a {name}" for name in OBJECT_NAMES}
        | {f"{style} style": f"an emoji in the style of {style}" for style in STYLES}
        | {f"{colour} background": f"an emoji on a {colour} background" for colour in BACKGROUNDS}
    )
    return TextEmbeddings(list(captions), judge.embed_texts(list(captions.values())), judge.embed_images(images))
