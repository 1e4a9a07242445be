"""How well labels of images can be predicted from an autoencoder: from one latent, from a few, and from reconstructions.

A linear probe on the raw rows is the baseline. Latents and probes are chosen and fitted on the images that the autoencoder
was trained on, and measured on the held-out images.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from editor.features.sae.model import CHUNK_ROWS, SparseAutoencoder
from editor.features.sae.sparse_probing import fit_concept_probe, preserved_accuracy, probing_curve, select_labels
from editor.io.progress import checked
from editor.stats.auc import BestLatent, Ranking, auc, best_latent
from editor.stats.intervals import estimate_mean


@dataclass(frozen=True)
class ImageCodes:
    """Images as encoded by an autoencoder, pooled over positions."""

    rows: Tensor
    """``(images, width)``: mean activations."""
    pre_activations: Tensor
    """``(images, latents)``: pre-activations of the mean activations."""
    reconstructed: Tensor
    """``(images, width)``: mean reconstructions."""
    codes: Tensor
    """``(images, latents)``: maximum of each latent over positions."""
    held_out: Tensor
    """``(images,)`` bool."""

    def select(self, images: Tensor) -> "ImageCodes":
        """Return some of the images."""
        return ImageCodes(
            *(part[images] for part in (self.rows, self.pre_activations, self.reconstructed, self.codes, self.held_out))
        )


@torch.no_grad()
def encode_images(sae: SparseAutoencoder, rows: Tensor, per_item: int, held_out: Tensor) -> ImageCodes:
    """Encode images given as ``(images * per_item, width)`` rows."""
    means, rebuilt, codes = [], [], []
    for part in checked(torch.split(rows, max(1, CHUNK_ROWS // per_item) * per_item)):
        code = sae.encode_sparse(part)
        means.append(split_by_image(part.float(), per_item).mean(1))
        rebuilt.append(split_by_image(sae.denormalize(code.matmul(sae.decoder)), per_item).mean(1))
        codes.append(split_by_image(code.dense(), per_item).amax(1))
    whole = torch.cat(means)
    return ImageCodes(whole, sae.pre_activations(whole), torch.cat(rebuilt), torch.cat(codes), held_out)


def split_by_image(rows: Tensor, per_item: int) -> Tensor:
    """Reshape ``(images * per_item, d)`` rows to ``(images, per_item, d)``."""
    return rows.reshape(-1, per_item, rows.shape[1])


def concept_metrics(images: ImageCodes, labels: Sequence[str]) -> dict[str, Any]:
    """Measure the AUC of the best latent per label, and the accuracy of probes on latents and on reconstructions.

    Args:
        labels: one per image; every label must occur among the held-out images and among the others.
    """
    names, held_out = sorted(set(labels)), images.held_out
    ranking = Ranking.of(images.pre_activations[~held_out])
    positive = {name: torch.tensor([label == name for label in labels]) for name in names}
    best = {name: best_latent(images.pre_activations, positive[name], ~held_out, ranking) for name in names}
    probe = fit_concept_probe(images.rows[~held_out], select_labels(labels, ~held_out))
    rows, reconstructed = images.rows[held_out], images.reconstructed[held_out]
    logits = probe.logits(rows)
    probe_auc = [float(auc(logits[:, [i]], positive[name][held_out])[0]) for i, name in enumerate(probe.classes)]
    return {
        "auc": estimate_mean([latent.test.value for latent in best.values()]).model_dump(),
        "probe_auc": estimate_mean(probe_auc).model_dump(),
        "preserved": round_figures(preserved_accuracy(probe, rows, reconstructed, select_labels(labels, held_out))),
        "sparse_probing": round_figures(probing_curve(images.codes, labels, ~held_out)),
        "best": {name: best_latent_entry(latent) for name, latent in best.items()},
    }


def concept_metrics_if_enough(images: ImageCodes, labels: Sequence[str], minimum: int = 2) -> dict[str, Any] | None:
    """Return ``concept_metrics`` of the labels with at least ``minimum`` held-out images and as many others.

    Returns None if there are fewer than two such labels.
    """
    seen, unseen = Counter(select_labels(labels, ~images.held_out)), Counter(select_labels(labels, images.held_out))
    usable = {label for label in seen if min(seen[label], unseen[label]) >= minimum}
    chosen = torch.tensor([label in usable for label in labels])
    return concept_metrics(images.select(chosen), select_labels(labels, chosen)) if len(usable) > 1 else None


def best_latent_entry(best: BestLatent) -> dict[str, Any]:
    """Return the entry of a label's best latent in the autoencoder's card."""
    return {
        "latent": best.latent,
        "train_auc": round(best.train, 4),
        "auc": round(best.test.value, 4),
        "q_value": float(f"{best.q_value:.2g}"),
    }


def round_figures(metrics: Any) -> dict[str, Any]:
    """Return the fields of a metrics dataclass, rounded to four places."""
    return {
        name: {size: round(item, 4) for size, item in value.items()} if isinstance(value, dict) else round(value, 4)
        for name, value in asdict(metrics).items()
    }
