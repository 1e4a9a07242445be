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
from editor.emoji.labelled_composites import LabelledComposites
from editor.emoji.vocabulary import OBJECTS
from editor.features.activations.noised_source import activations_at_timestep, encode_pixels, seeded_noise
from editor.features.diffc import embedded as embedded_diffc
from editor.features.linear_probe import fit_probe
from editor.features.sae import embedded as embedded_sae
from editor.features.sae.feature_selection import d_prime
from editor.features.sae.model import WEIGHTS_FILE, read_card
from editor.generation.config import native_precision
from editor.generation.sampling import load_pipeline
from editor.judging.feature_scores.evaluate import AutoencoderInstrument, DiffCInstrument, FeatureInstruments
from editor.prompts.concepts import ConceptKind
from editor.stats.auc import auc

MIN_LATENT_AUC, MAX_LATENTS = 0.7, 5
"""Least AUC of a latent that stands for a concept, and how many may."""
ARTWORK_VARIANTS, BATCH_SIZE = 2, 64
MODULES_BY_KIND: dict[ConceptKind, tuple[str, ...]] = {"object": ("mid_block",), "style": ("up_blocks.0", "mid_block")}
"""Modules whose autoencoder tells them, best first."""
PROTOCOL = "images noised to the timestep, under the empty prompt"


@cache
def load_instruments() -> FeatureInstruments:
    """All of them; autoencoders only where they were trained."""
    trained = {
        kind: [module for module in modules if is_available(module)] for kind, modules in MODULES_BY_KIND.items()
    }
    found = {kind: load_autoencoder(modules[0]) for kind, modules in trained.items() if modules}
    return FeatureInstruments(found, {"object": load_head("object"), "style": load_head("style")}, interleave_objects())


def is_available(module: str) -> bool:
    """Whether there is an autoencoder of it."""
    return (embedded_sae.UNET_SAE_FOLDER / module / WEIGHTS_FILE).is_file()


@cache
def load_autoencoder(module: str) -> AutoencoderInstrument:
    """One site's, with the latents that stand for objects and styles, and a probe's directions for each."""
    folder, sae = embedded_sae.UNET_SAE_FOLDER / module, embedded_sae.unet_sae(module)
    timestep, artwork = int(read_card(folder)["timestep"]), LabelledComposites(ARTWORK_VARIANTS, seed=1)
    rows, stands, directions = (
        pooled_activations(module, timestep),
        dict[str, list[int]](),
        dict[str, tuple[Tensor, float]](),
    )
    with torch.no_grad():
        scores = sae.pre_activations(rows)
    for kind in MODULES_BY_KIND:
        probe = fit_probe(rows, artwork.labels[kind])
        directions |= {n: (probe.weight[i], float(probe.bias[i])) for i, n in enumerate(probe.classes)}
        stands |= {name: select_latents(scores, artwork.labels[kind], name) for name in probe.classes}
    place = Place(module=module, timestep=timestep, protocol=PROTOCOL, digest=file_digest(folder / WEIGHTS_FILE))
    return AutoencoderInstrument(sae, place, stands, directions)


@cache
def artwork_latents() -> tuple[object, Tensor]:
    """The pipeline, and the latents of every picture."""
    pipeline = load_pipeline(emoji.WEIGHTS)
    return pipeline, encode_pixels(pipeline, LabelledComposites(ARTWORK_VARIANTS, seed=1).images())


@torch.no_grad()
def pooled_activations(module: str, timestep: int) -> Tensor:
    """``(pictures, channels)``: means over positions."""
    pipeline, latents = artwork_latents()
    parts = []
    for start in range(0, len(latents), BATCH_SIZE):
        part = latents[start : start + BATCH_SIZE]
        noise = seeded_noise(part.shape[1:], 1, range(start, start + len(part)))
        parts.append(
            activations_at_timestep(pipeline, part, noise, timestep, [module], precision=native_precision())[
                module
            ].mean((2, 3))
        )
    return torch.cat(parts)


def select_latents(scores: Tensor, labels: Sequence[str], name: str) -> list[int]:
    """The latents that tell a concept, best first; perhaps none."""
    has = torch.tensor([label == name for label in labels])
    telling = auc(scores, has) >= MIN_LATENT_AUC
    order = d_prime(scores, has).argsort(descending=True, stable=True).tolist()
    return [latent for latent in order if telling[latent]][:MAX_LATENTS]


def load_head(asks: ConceptKind) -> DiffCInstrument:
    """A Diff-C classifier."""
    classifier, weights = (
        embedded_diffc.diffc_classifier(asks),
        Path(embedded_diffc.DIFFC_FOLDER / asks / "model.safetensors"),
    )
    config = classifier.config
    place = Place(module=config.module, timestep=config.timestep, protocol=PROTOCOL, digest=file_digest(weights))
    return DiffCInstrument(classifier, place)


def interleave_objects() -> tuple[str, ...]:
    """Objects of all groups in turn: controls should differ."""
    longest = max(map(len, OBJECTS.values()))
    return tuple(names[i] for i in range(longest) for names in OBJECTS.values() if i < len(names))
