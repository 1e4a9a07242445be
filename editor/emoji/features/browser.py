"""The browser of a shipped autoencoder, on the artwork and with the judge's texts."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from editor import emoji
from editor.emoji.features.pictures import Composites
from editor.emoji.features.unet_sae import FOLDER, SITES, unet_sae
from editor.emoji.profile import PROFILE
from editor.emoji.vocabulary import BACKGROUNDS, OBJECT_NAMES, STYLES
from editor.errors import FeatureError
from editor.features.activations.noised import NoisedImages
from editor.features.sae.browser import Browsable, write
from editor.features.sae.browser.contents import Texts
from editor.features.sae.model import read_card
from editor.judging.judge import Image, open_judge
from editor.judging.sampling import load_pipeline, native_precision

VARIANTS = 2
"""Composites of each picture that a page draws from."""


def embedded(module: str) -> Browsable:
    """``module``: ``mid_block`` or ``up_blocks.0``.

    Raises:
        FeatureError: no autoencoder of that block ships.
    """
    timesteps = dict(SITES)
    if module not in timesteps:
        raise FeatureError(
            f'No autoencoder of "{module}" ships.', field="folder", remedy=f"Choose from {', '.join(timesteps)}."
        )
    pipeline, composites = load_pipeline(emoji.WEIGHTS), Composites(VARIANTS, seed=1)
    pipeline.unet.to(memory_format=torch.channels_last)
    latents, timestep = composites.latents(pipeline), timesteps[module]
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


def write_all(folder: Path) -> None:
    """A page for each, into ``folder/browser``."""
    for module, _ in SITES:
        write(embedded(module), folder / "browser" / f"{module}.html")
