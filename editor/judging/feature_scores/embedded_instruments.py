"""The feature instruments of the embedded model: autoencoders with the latents of each concept, and Diff-C classifiers.

A concept's latents are chosen on artwork encoded by the base model, and so independently of the prompts that edits are scored
on.
"""

from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from api_schemas.feature_scores import Place
from editor import emoji
from editor.emoji.labelled_composites import LabelledComposites
from editor.emoji.vocabulary import OBJECTS
from editor.features.activations.noised_source import activations_at_timestep, encode_pixels, seeded_noise
from editor.features.diffc import embedded as embedded_diffc
from editor.features.linear_probe import fit_probe
from editor.features.sae import embedded as embedded_sae
from editor.features.sae.model import WEIGHTS_FILE, read_card
from editor.generation.config import native_precision
from editor.generation.pipelines import load_pipeline
from editor.io.digests import file_digest
from editor.io.progress import checked
from editor.judging.feature_scores.concept_latents import select_latents
from editor.judging.feature_scores.evaluate import AutoencoderInstrument, DiffCInstrument, FeatureInstruments
from editor.prompts.concepts import ConceptKind

ARTWORK_VARIANTS, BATCH_SIZE = 2, 64
MODULES_BY_KIND: dict[ConceptKind, tuple[str, ...]] = {"object": ("mid_block",), "style": ("up_blocks.0", "mid_block")}
"""Modules whose autoencoder detects concepts of a kind, best first."""
PROTOCOL = "images noised to the timestep, under the empty prompt"


@cache
def load_instruments() -> FeatureInstruments:
    """Load all instruments; autoencoders only of modules that have a trained one."""
    trained = {
        kind: [module for module in modules if is_available(module)] for kind, modules in MODULES_BY_KIND.items()
    }
    found = {kind: load_autoencoder(modules[0]) for kind, modules in trained.items() if modules}
    return FeatureInstruments(found, {"object": load_head("object"), "style": load_head("style")}, interleave_objects())


def is_available(module: str) -> bool:
    """Whether an autoencoder of the module ships with the package."""
    return (embedded_sae.UNET_SAE_FOLDER / module / WEIGHTS_FILE).is_file()


@cache
def load_autoencoder(module: str) -> AutoencoderInstrument:
    """Load a module's autoencoder, with the latents and the linear probe direction of each object and style."""
    folder, sae = embedded_sae.UNET_SAE_FOLDER / module, embedded_sae.unet_sae(module)
    timestep, artwork = int(read_card(folder)["timestep"]), LabelledComposites(ARTWORK_VARIANTS, seed=1)
    rows = pooled_activations(module, timestep)
    latents_of, directions = dict[str, list[int]](), dict[str, tuple[Tensor, float]]()
    with torch.no_grad():
        scores = sae.pre_activations(rows)
    for kind in MODULES_BY_KIND:
        probe = fit_probe(rows, artwork.labels[kind])
        directions |= {n: (probe.weight[i], float(probe.bias[i])) for i, n in enumerate(probe.classes)}
        latents_of |= {name: select_latents(scores, artwork.labels[kind], name) for name in probe.classes}
    place = Place(module=module, timestep=timestep, protocol=PROTOCOL, digest=file_digest(folder / WEIGHTS_FILE))
    return AutoencoderInstrument(sae, place, latents_of, directions)


@cache
def artwork_latents() -> tuple[object, Tensor]:
    """Return the base pipeline, and the latents of every artwork image."""
    pipeline = load_pipeline(emoji.WEIGHTS)
    return pipeline, encode_pixels(pipeline, LabelledComposites(ARTWORK_VARIANTS, seed=1).images())


@torch.no_grad()
def pooled_activations(module: str, timestep: int) -> Tensor:
    """Return a module's activations ``(images, channels)``, averaged over positions."""
    pipeline, latents = artwork_latents()
    parts = []
    for start in checked(range(0, len(latents), BATCH_SIZE)):
        part = latents[start : start + BATCH_SIZE]
        noise = seeded_noise(part.shape[1:], 1, range(start, start + len(part)))
        activations = activations_at_timestep(pipeline, part, noise, timestep, [module], precision=native_precision())
        parts.append(activations[module].mean((2, 3)))
    return torch.cat(parts)


def load_head(kind: ConceptKind) -> DiffCInstrument:
    """Load the Diff-C classifier of a kind of concept."""
    classifier = embedded_diffc.diffc_classifier(kind)
    weights = Path(embedded_diffc.DIFFC_FOLDER / kind / "model.safetensors")
    config = classifier.config
    place = Place(module=config.module, timestep=config.timestep, protocol=PROTOCOL, digest=file_digest(weights))
    return DiffCInstrument(classifier, place)


def interleave_objects() -> tuple[str, ...]:
    """Return the objects, alternating between the groups of the vocabulary, so that the first controls are diverse."""
    longest = max(map(len, OBJECTS.values()))
    return tuple(names[i] for i in range(longest) for names in OBJECTS.values() if i < len(names))
