"""The sparse autoencoders that ship with the embedded model: what its UNet sees, position by position.

Trained on the artwork noised to one timestep under the empty prompt. A picture of every object is held out, of another
style each: errors and AUCs are of pictures that the autoencoders never saw.
"""

from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from api_schemas.report import Estimate
from editor import emoji
from editor.emoji.features.pictures import Composites
from editor.emoji.vocabulary import OBJECT_NAMES, STYLES
from editor.features.activations import ActivationStore, record
from editor.features.activations.noised import NoisedImages
from editor.features.activations.store import pooled
from editor.features.probe import fit_probe
from editor.features.sae import SaeConfig, SparseAutoencoder, load_sae, train_sae
from editor.features.sae.concepts import Best, Ranking, auc, best_latent
from editor.features.sae.metrics import Reconstruction, reconstruction, stability, stable_share
from editor.judging.sampling import load_pipeline, native_precision
from editor.judging.statistics import estimate
from editor.publishing.atomic import write_bytes

FOLDER = Path(__file__).parent / "unet_sae"
SITES = (("mid_block", 25), ("up_blocks.0", 25))
"""Block and timestep: where, by the study, objects and styles can be read best."""
VARIANTS = 12
SEEDS = (0, 1, 2)
CONFIG = SaeConfig(latents=512, k=16, steps=1500, batch=512, learning_rate=4e-3, momentum=0.9)
KINDS = ("object", "group", "style", "background")
PROBE_PENALTY, PROBE_TOLERANCE = 1e-3, 1e-4


@cache
def unet_sae(module: str) -> SparseAutoencoder:
    """A shipped autoencoder; ``module``: ``mid_block`` or ``up_blocks.0``."""
    return load_sae(FOLDER / module)


def train(folder: Path) -> None:
    """Train every site with three seeds, measure, and write the first seed's weights with its card."""
    cards = {}
    for (module, timestep), store in recordings(folder).items():
        saes = [trained(store, seed, folder / "unet_sae" / f"{module}-{seed}") for seed in SEEDS]
        about = {"module": module, "timestep": timestep, "recording": store.manifest.about}
        cards[module] = about | measured(store, saes)
        saes[0].save(FOLDER / module, cards[module], torch.float16)
    write_bytes(FOLDER / "README.md", readme(cards).encode())


def recordings(folder: Path) -> dict[tuple[str, int], ActivationStore]:
    """Every position of every composite."""
    pipeline, composites = load_pipeline(emoji.WEIGHTS), Composites(VARIANTS)
    pipeline.unet.to(memory_format=torch.channels_last)
    modules, timesteps = [module for module, _ in SITES], sorted({timestep for _, timestep in SITES})
    source = NoisedImages(pipeline, composites.latents(pipeline), modules, timesteps, precision=native_precision())
    stores = record(folder / "unet_sae" / "recordings", source, composites.labels, "patch", shard=960)
    return {site: stores[site] for site in SITES}


def held_out(labels: dict[str, list[str]]) -> Tensor:
    """``(items,)`` bool: one style of every object, all styles evenly."""
    pairs = zip(labels["object"], labels["style"], strict=True)
    return torch.tensor([(OBJECT_NAMES.index(o) + STYLES.index(s)) % len(STYLES) == 0 for o, s in pairs])


def trained(store: ActivationStore, seed: int, folder: Path) -> SparseAutoencoder:
    """On the positions of the pictures that are not held out."""
    keep = (~held_out(store.item_labels)).repeat_interleave(store.manifest.per_item)
    return train_sae(store.rows()[keep], CONFIG.model_copy(update={"seed": seed}), folder=folder).sae


def measured(store: ActivationStore, saes: Sequence[SparseAutoencoder]) -> dict[str, Any]:
    """The card's figures, of the first autoencoder; the others tell how far a seed decides."""
    out = held_out(store.item_labels)
    rows = store.rows()[out.repeat_interleave(store.manifest.per_item)]
    found = [reconstruction(sae, rows) for sae in saes]
    first, others = saes[0], [sae.decoder.detach() for sae in saes[1:]]
    alive = torch.tensor(found[0].density) > 0
    like = stability(first.decoder.detach(), others)[alive]
    with torch.no_grad():
        means = pooled(store.maps(), "mean")
        scores = first.pre_activations(means)
    return {
        "training": CONFIG.model_dump(),
        "held_out": {key: value for key, value in asdict(found[0]).items() if key != "density"},
        "fvu_by_seed": [one.fvu for one in found],
        "stability": {
            "mean_cosine": float(like.mean()),
            "found_by_two_thirds": float(
                (stable_share(first.decoder.detach(), others)[alive] >= 2 / 3).double().mean()
            ),
        },
        "concepts": {kind: concepts(means, scores, store.item_labels[kind], out) for kind in KINDS},
    }


def concepts(means: Tensor, scores: Tensor, labels: Sequence[str], out: Tensor) -> dict[str, Any]:
    """For each label the latent that tells it best on the training pictures, and its AUC on the held-out ones."""
    names = sorted(set(labels))
    seen, unseen = [[i for i, o in enumerate(out.tolist()) if o == held] for held in (False, True)]
    ranking = Ranking.of(scores[~out])
    positive = {name: torch.tensor([label == name for label in labels]) for name in names}
    best = {name: best_latent(scores, positive[name], ~out, ranking) for name in names}
    probe = fit_probe(means[seen], [labels[i] for i in seen], PROBE_PENALTY, PROBE_TOLERANCE)
    logits = probe.predict(means[unseen])
    probed = [float(auc(logits[:, [number]], positive[name][out])[0]) for number, name in enumerate(probe.classes)]
    return {
        "auc": estimate([one.test.value for one in best.values()]).model_dump(),
        "probe_auc": estimate(probed).model_dump(),
        "best": {name: described(one) for name, one in best.items()},
    }


def described(best: Best) -> dict[str, Any]:
    """For the card."""
    return {
        "latent": best.latent,
        "train_auc": round(best.train, 4),
        "auc": round(best.test.value, 4),
        "q_value": float(f"{best.q_value:.2g}"),
    }


def readme(cards: dict[str, dict[str, Any]]) -> str:
    """The README beside the weights."""
    return CARD + "\n".join(line(module, card) for module, card in cards.items()) + "\n" + CONCEPTS + "\n".join(
        concept_line(module, kind, card["concepts"][kind]) for module, card in cards.items() for kind in KINDS
    ) + "\n"  # fmt: skip


def line(module: str, card: dict[str, Any]) -> str:
    """A row of the first table."""
    figures = Reconstruction(**card["held_out"], density=[])
    seeds = ", ".join(f"{fvu:.3f}" for fvu in card["fvu_by_seed"])
    like = card["stability"]
    cells = (
        f"`{module}`", card["timestep"], f"{figures.fvu:.3f}", seeds, f"{figures.cosine:.3f}", f"{figures.l0:.1f}",
        f"{figures.dead:.1%}", f"{figures.dense:.1%}", f"{like['mean_cosine']:.2f}", f"{like['found_by_two_thirds']:.0%}",
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def concept_line(module: str, kind: str, found: dict[str, Any]) -> str:
    """A row of the second table."""
    cells = (interval(Estimate(**found[name])) for name in ("auc", "probe_auc"))
    return f"| `{module}` | {kind} | {len(found['best'])} | {' | '.join(cells)} |"


def interval(found: Estimate) -> str:
    """A figure with its interval."""
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


CARD = f"""# Sparse autoencoders of the embedded model's UNet

TopK autoencoders (Gao et al. 2024) of {CONFIG.latents} latents, {CONFIG.k} of them active, on single positions of two blocks
of the UNet, float16 in safetensors. Trained on the artwork ({VARIANTS} composites of each picture: random backgrounds,
shifted), noised to one timestep under the empty prompt. A fifth of the pictures is held out, one style of every object;
all figures are of those.

*FVU*: share of the variance that is left unexplained. *Like*: mean over living latents of the largest cosine to a decoder
row of another seed, and the share of latents for which two thirds of the other seeds have one of at least 0.7.

| block | timestep | FVU | FVU by seed | cosine | L0 | dead | dense | like, cosine | like, share |
|---|---|---|---|---|---|---|---|---|---|
"""
CONCEPTS = """
For each concept the latent is chosen on the training pictures, by the AUC of its pre-activation's mean over positions,
and measured on the held-out pictures; the table gives the mean over the concepts of a kind, with its bootstrap interval
over concepts. Beside it a linear probe on the same means of the raw activations: a single latent is a witness, not a
classifier. Each concept's figures are in `sae.json`.

| block | kind | concepts | AUC of one latent | AUC of the probe |
|---|---|---|---|---|
"""
