"""What of images' labels an autoencoder tells: by single latents, by few, by its reconstructions, beside a linear probe.

Everything is chosen and fitted on the images that the autoencoder was trained on, and measured on the others.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from editor.features.sae.model import CHUNK_ROWS, SparseAutoencoder
from editor.features.sae.sparse_probing import fit_concept_probe, preserved_accuracy, probing_curve, select_labels
from editor.stats.auc import BestLatent, Ranking, auc, best_latent
from editor.stats.intervals import estimate_mean


@dataclass(frozen=True)
class ImageCodes:
    """Images as an autoencoder has them."""

    rows: Tensor
    """``(images, width)``: means over positions."""
    pre_activations: Tensor
    """``(images, latents)``: pre-activations of the means."""
    reconstructed: Tensor
    """``(images, width)``: means of the reconstructions."""
    codes: Tensor
    """``(images, latents)``: the largest of each latent over positions."""
    held_out: Tensor
    """``(images,)`` bool: held out."""

    def select(self, images: Tensor) -> "ImageCodes":
        """Some of them."""
        return ImageCodes(
            *(part[images] for part in (self.rows, self.pre_activations, self.reconstructed, self.codes, self.held_out))
        )


@torch.no_grad()
def encode_images(sae: SparseAutoencoder, rows: Tensor, per_item: int, held_out: Tensor) -> ImageCodes:
    """Images of ``(images * per_item, width)`` rows."""
    means, rebuilt, codes = [], [], []
    for part in torch.split(rows, max(1, CHUNK_ROWS // per_item) * per_item):
        code = sae.encode_sparse(part)
        means.append(split_by_image(part.float(), per_item).mean(1))
        rebuilt.append(split_by_image(sae.denormalize(code.matmul(sae.decoder)), per_item).mean(1))
        codes.append(split_by_image(code.dense(), per_item).amax(1))
    whole = torch.cat(means)
    return ImageCodes(whole, sae.pre_activations(whole), torch.cat(rebuilt), torch.cat(codes), held_out)


def split_by_image(rows: Tensor, per_item: int) -> Tensor:
    """``(images * per_item, d)`` -> ``(images, per_item, d)``."""
    return rows.reshape(-1, per_item, rows.shape[1])


def concept_metrics(images: ImageCodes, labels: Sequence[str]) -> dict[str, Any]:
    """For each label the latent that tells it best, and its AUC; then how far all labels are told apart, and by how much.

    Args:
        labels: of every image; each occurs among those held out and among the others.
    """
    names, out = sorted(set(labels)), images.held_out
    ranking = Ranking.of(images.pre_activations[~out])
    positive = {name: torch.tensor([label == name for label in labels]) for name in names}
    best = {name: best_latent(images.pre_activations, positive[name], ~out, ranking) for name in names}
    probe, unseen = fit_concept_probe(images.rows[~out], select_labels(labels, ~out)), select_labels(labels, out)
    logits = probe.logits(images.rows[out])
    probed = [float(auc(logits[:, [number]], positive[name][out])[0]) for number, name in enumerate(probe.classes)]
    return {
        "auc": estimate_mean([one.test.value for one in best.values()]).model_dump(),
        "probe_auc": estimate_mean(probed).model_dump(),
        "preserved": round_figures(preserved_accuracy(probe, images.rows[out], images.reconstructed[out], unseen)),
        "sparse_probing": round_figures(probing_curve(images.codes, labels, ~out)),
        "best": {name: best_latent_entry(one) for name, one in best.items()},
    }


def concept_metrics_if_enough(images: ImageCodes, labels: Sequence[str], minimum: int = 2) -> dict[str, Any] | None:
    """``concepts`` of the labels that occur at least so often among the held-out images and among the others.

    None where that leaves no two.
    """
    seen, unseen = Counter(select_labels(labels, ~images.held_out)), Counter(select_labels(labels, images.held_out))
    usable = {label for label in seen if min(seen[label], unseen[label]) >= minimum}
    kept = torch.tensor([label in usable for label in labels])
    return concept_metrics(images.select(kept), select_labels(labels, kept)) if len(usable) > 1 else None


def best_latent_entry(one: BestLatent) -> dict[str, Any]:
    """For the card."""
    return {
        "latent": one.latent,
        "train_auc": round(one.train, 4),
        "auc": round(one.test.value, 4),
        "q_value": float(f"{one.q_value:.2g}"),
    }


def round_figures(found: Any) -> dict[str, Any]:
    """A measure's figures, to four places."""
    return {
        name: {size: round(own, 4) for size, own in value.items()} if isinstance(value, dict) else round(value, 4)
        for name, value in asdict(found).items()
    }
