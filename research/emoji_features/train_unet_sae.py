"""The sparse autoencoders that ship with the embedded model: what its UNet sees, position by position.

Trained on the artwork noised to one timestep under the empty prompt. A picture of every object is held out, of another
style each: errors and AUCs are of pictures that the autoencoders never saw.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editor import emoji
from editor.emoji.labelled_composites import LabelledComposites
from editor.emoji.vocabulary import OBJECT_NAMES, STYLES
from editor.features.activations import ActivationStore, record
from editor.features.activations.noised_source import NoisedImages, encode_pixels
from editor.features.sae import SaeConfig, SparseAutoencoder, train_sae
from editor.features.sae.concept_metrics import concept_metrics, encode_images
from editor.features.sae.embedded import BLOCK_TIMESTEPS, UNET_SAE_FOLDER
from editor.features.sae.metrics import ReconstructionMetrics, mean_morans_i, reconstruction_metrics
from editor.generation.config import native_precision
from editor.generation.sampling import load_pipeline
from editor.io.atomic import write_bytes
from research.emoji_features.card_tables import absorbed, agreement, concept_cells

VARIANTS = 12
SEEDS = (0, 1, 2)
CONFIG = SaeConfig(latents=256, k=16, steps=20_000, batch=512, learning_rate=4e-3)
KINDS = ("object", "group", "style", "background")


def train(folder: Path) -> None:
    """Train every site with three seeds, measure, and write the first seed's weights with its card."""
    cards = {}
    for (module, timestep), store in recordings(folder).items():
        saes = [trained(store, seed, folder / "unet_sae" / f"{module}-{seed}") for seed in SEEDS]
        about = {"module": module, "timestep": timestep, "recording": store.manifest.about}
        cards[module] = about | measured(store, saes)
        saes[0].save(UNET_SAE_FOLDER / module, cards[module], torch.float16)
    write_bytes(UNET_SAE_FOLDER / "README.md", readme(cards).encode())


def recordings(folder: Path) -> dict[tuple[str, int], ActivationStore]:
    """Every position of every composite."""
    pipeline, composites = load_pipeline(emoji.WEIGHTS), LabelledComposites(VARIANTS)
    pipeline.unet.to(memory_format=torch.channels_last)
    modules, timesteps = (
        [module for module, _ in BLOCK_TIMESTEPS],
        sorted({timestep for _, timestep in BLOCK_TIMESTEPS}),
    )
    source = NoisedImages(
        pipeline, encode_pixels(pipeline, composites.images()), modules, timesteps, precision=native_precision()
    )
    stores = record(folder / "unet_sae" / "recordings", source, composites.labels, "patch", shard=960)
    return {site: stores[site] for site in BLOCK_TIMESTEPS}


def held_out(labels: dict[str, list[str]]) -> Tensor:
    """``(items,)`` bool: one style of every object, all styles evenly."""
    pairs = zip(labels["object"], labels["style"], strict=True)
    return torch.tensor([(OBJECT_NAMES.index(o) + STYLES.index(s)) % len(STYLES) == 0 for o, s in pairs])


def trained(store: ActivationStore, seed: int, folder: Path) -> SparseAutoencoder:
    """On the positions of the pictures that are not held out."""
    keep = (~held_out(store.item_labels)).repeat_interleave(store.manifest.rows_per_item)
    return train_sae(store.rows()[keep], CONFIG.model_copy(update={"seed": seed}), folder=folder).sae


def measured(store: ActivationStore, saes: Sequence[SparseAutoencoder]) -> dict[str, Any]:
    """The card's figures, of the first autoencoder; the others tell how far a seed decides."""
    out, each, first = held_out(store.item_labels), store.manifest.rows_per_item, saes[0]
    rows = store.rows()[out.repeat_interleave(each)]
    found = [reconstruction_metrics(sae, rows) for sae in saes]
    images = encode_images(first, store.rows(), each, out)
    return {
        "training": CONFIG.model_dump(),
        "held_out": {key: value for key, value in asdict(found[0]).items() if key != "density"},
        "fvu_by_seed": [one.fvu for one in found],
        "stability": agreement(found[0], saes),
        "morans_i": float(mean_morans_i(first, rows, store.manifest.grid).nanmean()),
        "concepts": {kind: concept_metrics(images, store.item_labels[kind]) for kind in KINDS},
        "absorption": absorbed(images.codes, store.item_labels["object"], ~out),
    }


def readme(cards: dict[str, dict[str, Any]]) -> str:
    """The README beside the weights."""
    blocks = "\n".join(line(module, card) for module, card in cards.items())
    kinds = "\n".join(
        concept_line(module, kind, card["concepts"][kind]) for module, card in cards.items() for kind in KINDS
    )
    siblings = "\n".join(absorption_line(module, card["absorption"]) for module, card in cards.items())
    return f"{CARD}{blocks}\n{CONCEPTS}{kinds}\n{ABSORPTION}{siblings}\n"


def line(module: str, card: dict[str, Any]) -> str:
    """A row of the first table."""
    figures = ReconstructionMetrics(**card["held_out"], density=[])
    seeds = ", ".join(f"{fvu:.3f}" for fvu in card["fvu_by_seed"])
    like = card["stability"]
    cells = (
        f"`{module}`", card["timestep"], f"{figures.fvu:.3f}", seeds, f"{figures.cosine:.3f}", f"{figures.l0:.1f}",
        f"{figures.dead:.1%}", f"{figures.dense:.1%}", f"{like['mean_cosine']:.2f}", f"{like['found_by_two_thirds']:.0%}",
        f"{card['morans_i']:.2f}",
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def concept_line(module: str, kind: str, found: dict[str, Any]) -> str:
    """A row of the second table."""
    return f"| `{module}` | {kind} | {len(found['best'])} | {concept_cells(found)} |"


def absorption_line(module: str, found: dict[str, float]) -> str:
    """A row of the last table."""
    return f"| `{module}` | {found['jaccard']:.2f} | {found['f1_one']:.2f} | {found['f1_few']:.2f} |"


CARD = f"""# Sparse autoencoders of the embedded model's UNet

TopK autoencoders (Gao et al. 2024) of {CONFIG.latents} latents, {CONFIG.k} of them active, on single positions of two blocks
of the UNet, float16 in safetensors. Trained on the artwork ({VARIANTS} composites of each picture: random backgrounds,
shifted), noised to one timestep under the empty prompt. A fifth of the pictures is held out, one style of every object;
all figures are of those.

*FVU*: share of the variance that is left unexplained. *Like*: mean over living latents of the largest cosine to a decoder
row of another seed, and the share of latents for which two thirds of the other seeds have one of at least 0.7. *Moran's I*:
how far a latent is active in one place of an image rather than scattered (1 smooth, about 0 random), the mean over images and
latents.

| block | timestep | FVU | FVU by seed | cosine | L0 | dead | dense | like, cosine | like, share | Moran's I |
|---|---|---|---|---|---|---|---|---|---|---|
"""
CONCEPTS = """
For each concept the latent is chosen on the training pictures, by the AUC of its pre-activation's mean over positions,
and measured on the held-out pictures; the table gives the mean over the concepts of a kind, with its bootstrap interval
over concepts. Beside it a linear probe on the same means of the raw activations: a single latent is a witness, not a
classifier. Each concept's figures are in `sae.json`.

*Probe*: its accuracy on the activations, on their reconstructions, and the share of its cross-entropy that these keep. *Sparse
probe*: accuracy of a probe that may look at so many latents, their maxima over positions, the most telling by ANOVA's F; and
the area under that curve from 1 to 100 latents, over the logarithm.

| block | kind | concepts | AUC of one latent | AUC of the probe | probe | rebuilt | kept | 1 latent | 10 | 100 | area |
|---|---|---|---|---|---|---|---|---|---|---|---|
"""
ABSORPTION = """
Absorption of objects by others of their group: what the ten most telling latents of an object and of a sibling have in common
(Jaccard), and the F1 of a probe on its best latent and on its best four. Means over objects.

| block | overlap with siblings | F1, one latent | F1, four |
|---|---|---|---|
"""
