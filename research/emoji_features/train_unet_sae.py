"""Train the packaged sparse autoencoders of the embedded UNet: ``python -m research.emoji_features unet_sae``.

Their inputs are single positions, recorded from the artwork noised to one timestep, under the empty prompt. One picture of
every object is held out, in different styles; errors and AUCs are measured on these.
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
from editor.generation.pipelines import load_pipeline
from editor.io.atomic import write_bytes
from research.emoji_features.card_tables import mean_absorption, render_concept_cells, seed_stability

VARIANTS = 12
SEEDS = (0, 1, 2)
CONFIG = SaeConfig(latents=256, k=16, steps=20_000, batch=512, learning_rate=4e-3)
KINDS = ("object", "group", "style", "background")


def train(folder: Path) -> None:
    """Train three seeds for every site, and write the weights of the first with its card."""
    cards = {}
    for (module, timestep), store in record_artwork(folder).items():
        saes = [train_seed(store, seed, folder / "unet_sae" / f"{module}-{seed}") for seed in SEEDS]
        about = {"module": module, "timestep": timestep, "recording": store.manifest.about}
        cards[module] = about | measure(store, saes)
        saes[0].save(UNET_SAE_FOLDER / module, cards[module], torch.float16)
    write_bytes(UNET_SAE_FOLDER / "README.md", render_readme(cards).encode())


def record_artwork(folder: Path) -> dict[tuple[str, int], ActivationStore]:
    """Record every position of every composite."""
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


def held_out_mask(labels: dict[str, list[str]]) -> Tensor:
    """Return the held-out items, ``(items,)`` bool: one style of every object, all styles evenly_spaced."""
    pairs = zip(labels["object"], labels["style"], strict=True)
    return torch.tensor([(OBJECT_NAMES.index(o) + STYLES.index(s)) % len(STYLES) == 0 for o, s in pairs])


def train_seed(store: ActivationStore, seed: int, folder: Path) -> SparseAutoencoder:
    """Train on the positions of the pictures that are not held out."""
    keep = (~held_out_mask(store.item_labels)).repeat_interleave(store.manifest.rows_per_item)
    return train_sae(store.rows()[keep], CONFIG.model_copy(update={"seed": seed}), folder=folder).sae


def measure(store: ActivationStore, saes: Sequence[SparseAutoencoder]) -> dict[str, Any]:
    """Return the card's figures for the first autoencoder; the others show the variation between seeds."""
    out, each, first = held_out_mask(store.item_labels), store.manifest.rows_per_item, saes[0]
    rows = store.rows()[out.repeat_interleave(each)]
    found = [reconstruction_metrics(sae, rows) for sae in saes]
    images = encode_images(first, store.rows(), each, out)
    return {
        "training": CONFIG.model_dump(),
        "held_out": {key: value for key, value in asdict(found[0]).items() if key != "density"},
        "fvu_by_seed": [one.fvu for one in found],
        "stability": seed_stability(found[0], saes),
        "morans_i": float(mean_morans_i(first, rows, store.manifest.grid).nanmean()),
        "concepts": {kind: concept_metrics(images, store.item_labels[kind]) for kind in KINDS},
        "absorption": mean_absorption(images.codes, store.item_labels["object"], ~out),
    }


def render_readme(cards: dict[str, dict[str, Any]]) -> str:
    """Render the README of the weights."""
    blocks = "\n".join(render_site(module, card) for module, card in cards.items())
    kinds = "\n".join(
        render_concepts(module, kind, card["concepts"][kind]) for module, card in cards.items() for kind in KINDS
    )
    siblings = "\n".join(render_absorption(module, card["absorption"]) for module, card in cards.items())
    return f"{CARD}{blocks}\n{CONCEPTS}{kinds}\n{ABSORPTION}{siblings}\n"


def render_site(module: str, card: dict[str, Any]) -> str:
    """Render a row of the first table."""
    figures = ReconstructionMetrics(**card["held_out"], density=[])
    seeds = ", ".join(f"{fvu:.3f}" for fvu in card["fvu_by_seed"])
    like = card["stability"]
    cells = (
        f"`{module}`", card["timestep"], f"{figures.fvu:.3f}", seeds, f"{figures.cosine:.3f}", f"{figures.l0:.1f}",
        f"{figures.dead:.1%}", f"{figures.dense:.1%}", f"{like['mean_cosine']:.2f}", f"{like['found_by_two_thirds']:.0%}",
        f"{card['morans_i']:.2f}",
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def render_concepts(module: str, kind: str, found: dict[str, Any]) -> str:
    """Render a row of the second table."""
    return f"| `{module}` | {kind} | {len(found['best'])} | {render_concept_cells(found)} |"


def render_absorption(module: str, found: dict[str, float]) -> str:
    """Render a row of the last table."""
    return f"| `{module}` | {found['jaccard']:.2f} | {found['f1_one']:.2f} | {found['f1_few']:.2f} |"


CARD = f"""# Sparse autoencoders of the embedded model's UNet

TopK autoencoders (Gao et al. 2024) of {CONFIG.latents} latents, {CONFIG.k} of them active, on single positions of two blocks
of the UNet, float16 in safetensors. Trained on the artwork ({VARIANTS} composites of each picture: random backgrounds,
shifted), noised to one timestep under the empty prompt. A fifth of the pictures is held out, one style of every object; all
figures are measured on these.

*FVU*: fraction of variance unexplained. *Match*: mean over live latents of the largest cosine to a decoder row of another seed,
and the share of latents that match one (at least 0.7) in two thirds of the other seeds. *Moran's I*: spatial autocorrelation of
a latent's activation (1: smooth, about 0: random), mean over images and latents.

| block | timestep | FVU | FVU by seed | cosine | L0 | dead | dense | match, cosine | match, share | Moran's I |
|---|---|---|---|---|---|---|---|---|---|---|
"""
CONCEPTS = """
For each concept the latent is selected on the training pictures, by the AUC of its pre-activation's mean over positions, and
measured on the held-out pictures; the table shows the mean over the concepts of a kind, with its bootstrap interval over
concepts. For comparison, the AUC of a linear probe on the same means of the raw activations: a single latent is evidence, not a
classifier. The figures of each concept are in `sae.json`.

*Probe*: its accuracy on the activations and on their reconstructions, and the share of its cross-entropy that these keep. *1
latent, 10, 100*: accuracy of a probe on that many latents, their maxima over positions, selected by ANOVA's F; *area*: area
under that curve on a logarithmic axis.

| block | kind | concepts | AUC of one latent | AUC of the probe | probe | rebuilt | kept | 1 latent | 10 | 100 | area |
|---|---|---|---|---|---|---|---|---|---|---|---|
"""
ABSORPTION = """
Absorption of objects by others of their group: overlap (Jaccard) of the ten most predictive latents of an object and of a
sibling, and the F1 of a probe on its best latent and on its best four. Means over objects.

| block | overlap with siblings | F1, one latent | F1, four |
|---|---|---|---|
"""
