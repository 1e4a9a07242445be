"""Train the packaged sparse autoencoder of image embeddings: ``python -m research.emoji_features clip_sae``.

Its inputs are the judge's embeddings of the artwork, clean and degraded (``embed_artwork``). One picture of every object is
held out, in different styles, with all its backgrounds and variants; errors and AUCs are measured on these.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editor.features.clip.embedded import CLIP_SAE_FOLDER
from editor.features.sae import SaeConfig, SparseAutoencoder, train_sae
from editor.features.sae.concept_metrics import concept_metrics, encode_images
from editor.features.sae.metrics import reconstruction_metrics
from editor.io.atomic import write_bytes
from research.emoji.artwork_embeddings import artwork_embeddings, make_labels
from research.emoji_features.card_tables import mean_absorption, render_concept_cells, seed_stability
from research.emoji_features.train_unet_sae import held_out_mask

SEEDS = (0, 1, 2)
EVALUATED_VARIANTS = 3
"""Variants of each picture, including the clean one, on which concepts are measured."""
CONFIG = SaeConfig(latents=256, k=8, steps=4000, batch=512, learning_rate=2e-3)
RELU_CONFIG = CONFIG.model_copy(update={"activation": "relu", "l1": 3.0, "momentum": 0.9, "squares": 0.999})
"""The architecture of the published study (Daujotas 2024), for comparison."""


def train(folder: Path) -> None:
    """Train three seeds and the published architecture, and write the weights of the first seed with its card."""
    embedded = artwork_embeddings(folder)
    rows, out = embedded.flatten(0, 1), held_out_mask(make_labels(embedded.shape[1]))
    saes = [train_seed(rows[~out], CONFIG, folder / f"clip_sae-{seed}", seed) for seed in SEEDS]
    sparse = train_seed(rows[~out], RELU_CONFIG, folder / "clip_sae-relu", 0)
    card = (
        measure_reconstruction(rows[out], saes)
        | {"relu": reconstruction_figures(sparse, rows[out])}
        | measure_concepts(saes[0], embedded)
    )
    saes[0].save(CLIP_SAE_FOLDER, card, torch.float16)
    write_bytes(CLIP_SAE_FOLDER / "README.md", render_readme(card).encode())


def train_seed(rows: Tensor, config: SaeConfig, folder: Path, seed: int) -> SparseAutoencoder:
    """Train one seed; an interrupted training resumes."""
    return train_sae(rows, config.model_copy(update={"seed": seed}), folder=folder).sae


def reconstruction_figures(sae: SparseAutoencoder, rows: Tensor) -> dict[str, float]:
    """Return the reconstruction figures of held-out rows."""
    return {key: value for key, value in asdict(reconstruction_metrics(sae, rows)).items() if key != "density"}


def measure_reconstruction(rows: Tensor, saes: Sequence[SparseAutoencoder]) -> dict[str, Any]:
    """Measure the first autoencoder on held-out rows; the others show the variation between seeds."""
    return {
        "training": CONFIG.model_dump(),
        "held_out": reconstruction_figures(saes[0], rows),
        "fvu_by_seed": [reconstruction_figures(sae, rows)["fvu"] for sae in saes],
        "stability": seed_stability(reconstruction_metrics(saes[0], rows), saes),
    }


def measure_concepts(sae: SparseAutoencoder, embedded: Tensor) -> dict[str, Any]:
    """Measure how well latents represent labels, on a few variants of every picture."""
    rows, labels = embedded[:, :EVALUATED_VARIANTS].flatten(0, 1), make_labels(EVALUATED_VARIANTS)
    images = encode_images(sae, rows, 1, held_out_mask(labels))
    return {
        "concepts": {kind: concept_metrics(images, names) for kind, names in labels.items()},
        "absorption": mean_absorption(images.codes, labels["object"], ~images.held_out),
    }


def render_readme(card: dict[str, Any]) -> str:
    """Render the README of the weights."""
    kinds = (render_concepts(kind, found) for kind, found in card["concepts"].items())
    figures = "\n".join(
        render_architecture(name, found) for name, found in (("TopK", card["held_out"]), ("ReLU, L1", card["relu"]))
    )
    like, seeds = card["stability"], ", ".join(f"{fvu:.3f}" for fvu in card["fvu_by_seed"])
    return CARD.format(
        figures=figures, seeds=seeds, kinds="\n".join(kinds), latents=CONFIG.latents, k=CONFIG.k, l1=RELU_CONFIG.l1,
        **like, **card["absorption"],
    )  # fmt: skip


def render_architecture(name: str, found: dict[str, float]) -> str:
    """Render a row of the first table."""
    return f"| {name} | {found['fvu']:.3f} | {found['cosine']:.3f} | {found['l0']:.1f} | {found['dead']:.1%} |"


def render_concepts(kind: str, found: dict[str, Any]) -> str:
    """Render a row of the second table."""
    return f"| {kind} | {len(found['best'])} | {render_concept_cells(found)} |"


CARD = """# A sparse autoencoder of the judge's image embeddings

TopK (Gao et al. 2024), {latents} latents, {k} of them active, float16 in safetensors. Its input is the judge's
`image_embeds`, 192 wide, neither normalised nor centred. Trained on emoji artwork, clean and degraded like generated images:
shifted, blurred, noisy. A fifth of the pictures is held out, one style of every object with all its backgrounds; all figures
are measured on these. For comparison, the second row has the architecture of the published study of CLIP: ReLU with an L1
penalty of {l1:g} and as many latents.

| kind | FVU | cosine | L0 | dead |
|---|---|---|---|---|
{figures}

FVU of three seeds: {seeds}. The largest cosine of a live latent to a decoder row of another seed is {mean_cosine:.2f} on
average; {found_by_two_thirds:.0%} of the latents have a match (at least 0.7) in two thirds of the other seeds.

For each label the latent is selected on the training pictures, by the AUC of its pre-activation, and measured on the held-out
ones. The table shows means over the labels of a kind, with bootstrap intervals over labels; the accuracy of a linear probe on
the embeddings and on their reconstructions, and the share of its cross-entropy that the reconstructions keep; and the
accuracy of probes on a number of latents, selected by ANOVA's F, with the area under that curve from 1 to 100 latents on a
logarithmic axis.

| kind | labels | AUC of one latent | AUC of the probe | probe | rebuilt | kept | 1 latent | 10 | 100 | area |
|---|---|---|---|---|---|---|---|---|---|---|
{kinds}

Absorption of objects by others of their group: the ten most predictive latents of an object overlap with a sibling's by
{jaccard:.2f} (Jaccard); a probe on an object's best latent has an F1 of {f1_one:.2f}, on its best four {f1_few:.2f}. Means
over objects.

Reproduce with `python -m research.emoji_features clip_sae`. The attribution and licences of the artwork apply
(see the card of the model).
"""
