"""The sparse autoencoder of the judge's image embeddings that ships with the embedded model.

Trained on the artwork, clean and roughened (``embed_artwork``). A picture of every object is held out, of another style
each, with all its backgrounds and variants: errors and AUCs are of pictures that the autoencoders never saw.
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
from research.emoji.artwork_embeddings import artwork_embeddings, labels_of
from research.emoji_features.card_tables import absorbed, agreement, concept_cells
from research.emoji_features.train_unet_sae import held_out

SEEDS = (0, 1, 2)
TOLD_BY = 3
"""Variants of a picture, the clean one among them, by which concepts are measured."""
CONFIG = SaeConfig(latents=256, k=8, steps=4000, batch=512, learning_rate=2e-3)
SPARSE = CONFIG.model_copy(update={"activation": "relu", "l1": 3.0, "momentum": 0.9, "squares": 0.999})
"""The published study's kind (Daujotas 2024), for comparison."""


def train(folder: Path) -> None:
    """Train three seeds and the published kind, measure, and write the first seed's weights with its card."""
    embedded = artwork_embeddings(folder)
    rows, out = embedded.flatten(0, 1), held_out(labels_of(embedded.shape[1]))
    saes = [trained(rows[~out], CONFIG, folder / f"clip_sae-{seed}", seed) for seed in SEEDS]
    sparse = trained(rows[~out], SPARSE, folder / "clip_sae-relu", 0)
    card = measured(rows[out], saes) | {"relu": figures(sparse, rows[out])} | telling(saes[0], embedded)
    saes[0].save(CLIP_SAE_FOLDER, card, torch.float16)
    write_bytes(CLIP_SAE_FOLDER / "README.md", readme(card).encode())


def trained(rows: Tensor, config: SaeConfig, folder: Path, seed: int) -> SparseAutoencoder:
    """One seed, resumed where it stopped."""
    return train_sae(rows, config.model_copy(update={"seed": seed}), folder=folder).sae


def figures(sae: SparseAutoencoder, rows: Tensor) -> dict[str, float]:
    """Of held-out rows."""
    return {key: value for key, value in asdict(reconstruction_metrics(sae, rows)).items() if key != "density"}


def measured(rows: Tensor, saes: Sequence[SparseAutoencoder]) -> dict[str, Any]:
    """Of held-out rows, by the first autoencoder; the others tell how far a seed decides."""
    return {
        "training": CONFIG.model_dump(),
        "held_out": figures(saes[0], rows),
        "fvu_by_seed": [figures(sae, rows)["fvu"] for sae in saes],
        "stability": agreement(reconstruction_metrics(saes[0], rows), saes),
    }


def telling(sae: SparseAutoencoder, embedded: Tensor) -> dict[str, Any]:
    """How well labels are told, on a few variants of every picture."""
    rows, labels = embedded[:, :TOLD_BY].flatten(0, 1), labels_of(TOLD_BY)
    images = encode_images(sae, rows, 1, held_out(labels))
    return {
        "concepts": {kind: concept_metrics(images, names) for kind, names in labels.items()},
        "absorption": absorbed(images.codes, labels["object"], ~images.held_out),
    }


def readme(card: dict[str, Any]) -> str:
    """The README beside the weights."""
    kinds = (kind_line(kind, found) for kind, found in card["concepts"].items())
    figures = "\n".join(line(name, found) for name, found in (("TopK", card["held_out"]), ("ReLU, L1", card["relu"])))
    like, seeds = card["stability"], ", ".join(f"{fvu:.3f}" for fvu in card["fvu_by_seed"])
    return CARD.format(
        figures=figures, seeds=seeds, kinds="\n".join(kinds), latents=CONFIG.latents, k=CONFIG.k, l1=SPARSE.l1,
        **like, **card["absorption"],
    )  # fmt: skip


def line(name: str, found: dict[str, float]) -> str:
    """A row of the first table."""
    return f"| {name} | {found['fvu']:.3f} | {found['cosine']:.3f} | {found['l0']:.1f} | {found['dead']:.1%} |"


def kind_line(kind: str, found: dict[str, Any]) -> str:
    """A row of the second table."""
    return f"| {kind} | {len(found['best'])} | {concept_cells(found)} |"


CARD = """# A sparse autoencoder of the judge's image embeddings

TopK (Gao et al. 2024), {latents} latents, {k} of them active, float16 in safetensors. It reads the judge's `image_embeds`, 192
wide, neither normalised nor centred. Trained on the artwork of emoji, clean and as a generator would draw it: shifted, soft,
noisy. A fifth of the pictures is held out, one style of every object with all its backgrounds; all figures are of those.
Below it, for comparison, what the published study of CLIP used: ReLU with an L1 penalty of {l1:g}, as many latents.

| kind | FVU | cosine | L0 | dead |
|---|---|---|---|---|
{figures}

FVU of three seeds: {seeds}. Mean over living latents of the largest cosine to a decoder row of another seed
{mean_cosine:.2f}; {found_by_two_thirds:.0%} of the latents have a like (at least 0.7) in two thirds of the other seeds.

For each label the latent is chosen on the training pictures, by the AUC of its pre-activation, and measured on the held-out
ones; means over the labels of a kind, with bootstrap intervals over labels. Beside it a linear probe on the embeddings: its
accuracy on them, on their reconstructions, and the share of its cross-entropy that these keep; and probes that may look at so
many latents, the most telling by ANOVA's F, with the area under that curve from 1 to 100 latents, over the logarithm.

| kind | labels | AUC of one latent | AUC of the probe | probe | rebuilt | kept | 1 latent | 10 | 100 | area |
|---|---|---|---|---|---|---|---|---|---|---|
{kinds}

Absorption of objects by others of their group: the ten most telling latents of an object overlap with a sibling's by
{jaccard:.2f} (Jaccard); a probe on an object's best latent has an F1 of {f1_one:.2f}, on its best four {f1_few:.2f}. Means
over objects.

Again by `python -m research.emoji_features clip_sae`. The artwork's attribution and licences hold here too
(see the card of the model).
"""
