"""What ships with the embedded model to judge edits of it by: autoencoders with what stands for concepts, and Diff-C heads.

What stands for a concept is chosen on artwork, read by the unedited model: no prompt that an edit is scored on has a say.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from api_schemas.feature_scores import Place
from editor import emoji
from editor.checkpoints import file_digest
from editor.emoji.labelled_composites import Composites
from editor.emoji.vocabulary import OBJECTS
from editor.features.activations.noised_source import encode_in_batches, fixed_noise, maps_at
from editor.features.diffc import embedded as embedded_diffc
from editor.features.linear_probe import fit_probe
from editor.features.sae import embedded as embedded_sae
from editor.features.sae.feature_selection import d_prime
from editor.features.sae.model import WEIGHTS, read_card
from editor.generation.sampling import load_pipeline, native_precision
from editor.judging.feature_scores.evaluate import Autoencoder, Head, Instruments
from editor.prompts.concepts import Kind
from editor.stats.auc import auc

STANDS, AT_MOST = 0.7, 5
"""Least AUC of a latent that stands for a concept, and how many may."""
VARIANTS, BATCH = 2, 64
READS: dict[Kind, tuple[str, ...]] = {"object": ("mid_block",), "style": ("up_blocks.0", "mid_block")}
"""Modules whose autoencoder tells them, best first."""
PROTOCOL = "images noised to the timestep, under the empty prompt"


@cache
def instruments() -> Instruments:
    """All of them; autoencoders only where they were trained."""
    trained = {kind: [module for module in modules if shipped(module)] for kind, modules in READS.items()}
    found = {kind: autoencoder(modules[0]) for kind, modules in trained.items() if modules}
    return Instruments(found, {"object": head("object"), "style": head("style")}, spread())


def shipped(module: str) -> bool:
    """Whether there is an autoencoder of it."""
    return (embedded_sae.FOLDER / module / WEIGHTS).is_file()


@cache
def autoencoder(module: str) -> Autoencoder:
    """One site's, with the latents that stand for objects and styles, and a probe's directions for each."""
    folder, sae = embedded_sae.FOLDER / module, embedded_sae.unet_sae(module)
    timestep, artwork = int(read_card(folder)["timestep"]), Composites(VARIANTS, seed=1)
    rows, stands, directions = pooled(module, timestep), dict[str, list[int]](), dict[str, tuple[Tensor, float]]()
    with torch.no_grad():
        scores = sae.pre_activations(rows)
    for kind in READS:
        probe = fit_probe(rows, artwork.labels[kind])
        directions |= {n: (probe.weight[i], float(probe.bias[i])) for i, n in enumerate(probe.classes)}
        stands |= {name: standing(scores, artwork.labels[kind], name) for name in probe.classes}
    place = Place(module=module, timestep=timestep, protocol=PROTOCOL, digest=file_digest(folder / WEIGHTS))
    return Autoencoder(sae, place, stands, directions)


@cache
def artwork_latents() -> tuple[object, Tensor]:
    """The pipeline, and the latents of every picture."""
    pipeline = load_pipeline(emoji.WEIGHTS)
    return pipeline, encode_in_batches(pipeline, Composites(VARIANTS, seed=1).images())


@torch.no_grad()
def pooled(module: str, timestep: int) -> Tensor:
    """``(pictures, channels)``: means over positions."""
    pipeline, latents = artwork_latents()
    parts = []
    for start in range(0, len(latents), BATCH):
        part = latents[start : start + BATCH]
        noise = fixed_noise(part.shape[1:], 1, range(start, start + len(part)))
        parts.append(
            maps_at(pipeline, part, noise, timestep, [module], precision=native_precision())[module].mean((2, 3))
        )
    return torch.cat(parts)


def standing(scores: Tensor, labels: Sequence[str], name: str) -> list[int]:
    """The latents that tell a concept, best first; perhaps none."""
    has = torch.tensor([label == name for label in labels])
    telling = auc(scores, has) >= STANDS
    order = d_prime(scores, has).argsort(descending=True, stable=True).tolist()
    return [latent for latent in order if telling[latent]][:AT_MOST]


def head(asks: Kind) -> Head:
    """A Diff-C classifier."""
    classifier, weights = embedded_diffc.diffc_head(asks), Path(embedded_diffc.FOLDER / asks / "model.safetensors")
    config = classifier.config
    place = Place(module=config.module, timestep=config.timestep, protocol=PROTOCOL, digest=file_digest(weights))
    return Head(classifier, place)


def spread() -> tuple[str, ...]:
    """Objects of all groups in turn: controls should differ."""
    longest = max(map(len, OBJECTS.values()))
    return tuple(names[i] for i in range(longest) for names in OBJECTS.values() if i < len(names))
