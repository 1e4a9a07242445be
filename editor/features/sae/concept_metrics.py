"""What of images' labels an autoencoder tells: by single latents, by few, by its reconstructions, beside a linear probe.

Everything is chosen and fitted on the images that the autoencoder was trained on, and measured on the others.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from editor.features.sae.model import CHUNK, SparseAutoencoder
from editor.features.sae.sparse_probing import among, fitted, preserved, probing_curve
from editor.stats.auc import BestLatent, Ranking, auc, best_latent
from editor.stats.intervals import estimate_mean


@dataclass(frozen=True)
class Told:
    """Images as an autoencoder has them."""

    rows: Tensor
    """``(images, width)``: means over positions."""
    scores: Tensor
    """``(images, latents)``: pre-activations of the means."""
    rebuilt: Tensor
    """``(images, width)``: means of the reconstructions."""
    codes: Tensor
    """``(images, latents)``: the largest of each latent over positions."""
    out: Tensor
    """``(images,)`` bool: held out."""

    def of(self, images: Tensor) -> "Told":
        """Some of them."""
        return Told(*(part[images] for part in (self.rows, self.scores, self.rebuilt, self.codes, self.out)))


@torch.no_grad()
def told(sae: SparseAutoencoder, rows: Tensor, per_item: int, out: Tensor) -> Told:
    """Images of ``(images * per_item, width)`` rows."""
    means, rebuilt, codes = [], [], []
    for part in torch.split(rows, max(1, CHUNK // per_item) * per_item):
        code = sae.code(part)
        means.append(by_image(part.float(), per_item).mean(1))
        rebuilt.append(by_image(sae.restored(code.times(sae.decoder)), per_item).mean(1))
        codes.append(by_image(code.dense(), per_item).amax(1))
    whole = torch.cat(means)
    return Told(whole, sae.pre_activations(whole), torch.cat(rebuilt), torch.cat(codes), out)


def by_image(rows: Tensor, per_item: int) -> Tensor:
    """``(images * per_item, d)`` -> ``(images, per_item, d)``."""
    return rows.reshape(-1, per_item, rows.shape[1])


def concepts(images: Told, labels: Sequence[str]) -> dict[str, Any]:
    """For each label the latent that tells it best, and its AUC; then how far all labels are told apart, and by how much.

    Args:
        labels: of every image; each occurs among those held out and among the others.
    """
    names, out = sorted(set(labels)), images.out
    ranking = Ranking.of(images.scores[~out])
    positive = {name: torch.tensor([label == name for label in labels]) for name in names}
    best = {name: best_latent(images.scores, positive[name], ~out, ranking) for name in names}
    probe, unseen = fitted(images.rows[~out], among(labels, ~out)), among(labels, out)
    logits = probe.predict(images.rows[out])
    probed = [float(auc(logits[:, [number]], positive[name][out])[0]) for number, name in enumerate(probe.classes)]
    return {
        "auc": estimate_mean([one.test.value for one in best.values()]).model_dump(),
        "probe_auc": estimate_mean(probed).model_dump(),
        "preserved": rounded(preserved(probe, images.rows[out], images.rebuilt[out], unseen)),
        "sparse_probing": rounded(probing_curve(images.codes, labels, ~out)),
        "best": {name: described(one) for name, one in best.items()},
    }


def tellable(images: Told, labels: Sequence[str], least: int = 2) -> dict[str, Any] | None:
    """``concepts`` of the labels that occur at least so often among the held-out images and among the others.

    None where that leaves no two.
    """
    seen, unseen = Counter(among(labels, ~images.out)), Counter(among(labels, images.out))
    usable = {label for label in seen if min(seen[label], unseen[label]) >= least}
    kept = torch.tensor([label in usable for label in labels])
    return concepts(images.of(kept), among(labels, kept)) if len(usable) > 1 else None


def described(one: BestLatent) -> dict[str, Any]:
    """For the card."""
    return {
        "latent": one.latent,
        "train_auc": round(one.train, 4),
        "auc": round(one.test.value, 4),
        "q_value": float(f"{one.q_value:.2g}"),
    }


def rounded(found: Any) -> dict[str, Any]:
    """A measure's figures, to four places."""
    return {
        name: {size: round(own, 4) for size, own in value.items()} if isinstance(value, dict) else round(value, 4)
        for name, value in asdict(found).items()
    }
