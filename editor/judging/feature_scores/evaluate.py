"""Score an edit with instruments trained on the base model: generate images, read activations, and score them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from api_schemas.feature_scores import DiffCScore, FeatureScores, Place, SaeScore
from editor.features.activations.noised_source import activations_at_timestep, seeded_noise
from editor.features.diffc import DiffusionClassifier
from editor.features.sae import SparseAutoencoder
from editor.generation.config import Image, ImageSpec
from editor.generation.sampling import generate_images
from editor.io.progress import checked
from editor.judging.attacks import AttackContext, ModelVariant
from editor.judging.feature_scores.diffc import score_generated_images, score_noised_images
from editor.judging.feature_scores.sae import Direction, PairedActivations, sae_score
from editor.prompts.concepts import ConceptKind, Phrase

MAX_TARGET_PROMPTS, CONTROL_CONCEPTS, PROMPTS_PER_CONTROL = 8, 12, 3
"""Largest number of prompts about the concept; number of control concepts, and of prompts about each."""
BATCH_SIZE = 32
OBJECT_AND_STYLE: tuple[ConceptKind, ConceptKind] = ("object", "style")


@dataclass(frozen=True)
class AutoencoderInstrument:
    """A sparse autoencoder of one module at one timestep, with the features of each concept."""

    sae: SparseAutoencoder
    place: Place
    features: Mapping[str, Sequence[int]]
    """Features of each concept, chosen on the base model and on data other than the scored prompts."""
    directions: Mapping[str, Direction]
    """Direction of each concept, from a linear probe fitted on the same data."""


@dataclass(frozen=True)
class DiffCInstrument:
    """A Diff-C classifier and the module that it reads."""

    classifier: DiffusionClassifier
    place: Place


@dataclass(frozen=True)
class FeatureInstruments:
    """The instruments of a model, by kind of concept."""

    autoencoders: Mapping[ConceptKind, AutoencoderInstrument]
    heads: Mapping[ConceptKind, DiffCInstrument]
    controls: Sequence[str]
    """Objects that may serve as control concepts."""


@dataclass(frozen=True)
class PairedImages:
    """Images of both models at the same prompts and seeds: first of the removed concept, then of the controls."""

    targets: Sequence[Phrase]
    controls: Sequence[Phrase]
    before: Sequence[Image]
    after: Sequence[Image]


def generate_paired_images(context: AttackContext, instruments: FeatureInstruments, seed: int = 0) -> PairedImages:
    """Generate images of the concept's and the controls' prompts with both models."""
    targets, controls = context.concept_prompts[:MAX_TARGET_PROMPTS], control_phrases(context, instruments.controls)
    specs = [ImageSpec(phrase.text(), seed) for phrase in (*targets, *controls)]
    after = generate_images(context.after.pipeline, context.after.sampler, specs)
    return PairedImages(targets, controls, context.base_images(specs), after)


def control_phrases(context: AttackContext, names: Sequence[str]) -> list[Phrase]:
    """Return held-out prompts about retained objects, none of which replaces a removed concept, in retained styles."""
    replacements = {removal.destination.words for removal in context.removed}
    retained, styles = (context.prompt_builder.retained_names(kind, context.removed) for kind in OBJECT_AND_STYLE)
    candidates = (name for name in names if name in retained and name not in replacements)
    own_styles = (styles * PROMPTS_PER_CONTROL)[:PROMPTS_PER_CONTROL]
    phrases: list[Phrase] = []
    for name in islice(candidates, CONTROL_CONCEPTS):
        phrases += context.prompt_builder.in_held_out_wordings(Phrase("", name, style) for style in own_styles)
    return phrases


def score_features(context: AttackContext, instruments: FeatureInstruments, pairs: PairedImages) -> FeatureScores:
    """Score the images with the instruments for the removed concept's kind; empty if there are none."""
    kind = context.removal.concept.kind
    sae, head = instruments.autoencoders.get(kind), instruments.heads.get(kind)
    has_class = head is not None and context.name in head.classifier.config.classes
    has_direction = sae is not None and context.name in sae.directions
    return FeatureScores(
        sae=(score_with_autoencoder(context, sae, pairs),) if sae and has_direction else (),
        diffc=score_with_diffc(context, head, pairs) if head and has_class else (),
    )


def score_with_autoencoder(context: AttackContext, instrument: AutoencoderInstrument, pairs: PairedImages) -> SaeScore:
    """Score activations of noised images under the empty prompt, each read by the model that generated the image."""
    before, after = (
        activation_maps(variant, images, instrument.place)
        for variant, images in ((context.before, pairs.before), (context.after, pairs.after))
    )
    about = [context.name] * len(pairs.targets) + [phrase.object for phrase in pairs.controls]
    prompts = [phrase.text() for phrase in (*pairs.targets, *pairs.controls)]
    readings = PairedActivations(before.mean((2, 3)), after.mean((2, 3)), prompts, about)
    patches = (flatten_positions(before), flatten_positions(after))
    return sae_score(
        instrument.sae, readings, instrument.features, context.index, instrument.place, instrument.directions, patches
    )


@torch.no_grad()
def activation_maps(variant: ModelVariant, images: Sequence[Image], place: Place) -> Tensor:
    """Return the activations ``(n, c, h, w)`` of noised images at a place."""
    clean, parts = variant.encode_images(images), []
    for start in checked(range(0, len(clean), BATCH_SIZE)):
        part = clean[start : start + BATCH_SIZE]
        noise = seeded_noise(part.shape[1:], 0, range(start, start + len(part)))
        found = activations_at_timestep(
            variant.pipeline, part, noise, place.timestep, [place.module], precision=variant.sampler.precision
        )
        parts.append(found[place.module])
    return torch.cat(parts)


def flatten_positions(activations: Tensor) -> Tensor:
    """Reshape activations ``(n, c, h, w)`` to rows ``(n h w, c)``."""
    return activations.flatten(2).transpose(1, 2).flatten(0, 1)


def score_with_diffc(context: AttackContext, head: DiffCInstrument, pairs: PairedImages) -> tuple[DiffCScore, ...]:
    """Return three scores: under the prompts, under the empty prompt, and of the base model's noised images."""
    classifier, count = head.classifier, len(pairs.targets)
    prompts = [phrase.text() for phrase in pairs.targets]
    pipelines = context.before.pipeline, context.after.pipeline
    latents = (
        context.before.encode_images(pairs.before[:count]),
        context.after.encode_images(pairs.after[:count]),
    )
    about = (context.name, context.index, head.place)
    return (
        score_generated_images(classifier, pipelines, latents, prompts, *about),
        score_generated_images(classifier, pipelines, latents, prompts, *about, prompted=False),
        score_noised_images(classifier, pipelines, latents[0], prompts, *about),
    )
