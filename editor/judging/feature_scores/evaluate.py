"""Draw, read and score: what instruments trained on the original model say of an edit."""

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
from editor.judging.attacks import AttackContext, ModelVariant
from editor.judging.feature_scores.diffc import score_generated_images, score_noised_images
from editor.judging.feature_scores.sae import Direction, PairedActivations, sae_score
from editor.prompts.concepts import ConceptKind, Phrase

MAX_TARGET_PROMPTS, CONTROL_CONCEPTS, PROMPTS_PER_CONTROL = 8, 12, 3
"""Prompts about the concept; control concepts, and prompts about each."""
BATCH_SIZE = 32


@dataclass(frozen=True)
class AutoencoderInstrument:
    """An autoencoder of one module at one timestep, and what stands for concepts in it."""

    sae: SparseAutoencoder
    place: Place
    features: Mapping[str, Sequence[int]]
    """Chosen on the original model, on other prompts than any that are scored."""
    directions: Mapping[str, Direction]
    """Of a linear probe, likewise."""


@dataclass(frozen=True)
class DiffCInstrument:
    """A Diff-C classifier."""

    classifier: DiffusionClassifier
    place: Place


@dataclass(frozen=True)
class FeatureInstruments:
    """What there is for a model, by what it tells."""

    autoencoders: Mapping[ConceptKind, AutoencoderInstrument]
    heads: Mapping[ConceptKind, DiffCInstrument]
    controls: Sequence[str]
    """Objects that may be controls."""


@dataclass(frozen=True)
class PairedImages:
    """Images of both models at the same prompts and seeds: the removed concept's first, then the controls'."""

    targets: Sequence[Phrase]
    controls: Sequence[Phrase]
    before: Sequence[Image]
    after: Sequence[Image]


def generate_paired_images(context: AttackContext, instruments: FeatureInstruments, seed: int = 0) -> PairedImages:
    """Draw them."""
    targets, controls = context.concept_prompts[:MAX_TARGET_PROMPTS], control_phrases(context, instruments.controls)
    shots = [ImageSpec(phrase.text(), seed) for phrase in (*targets, *controls)]
    after = context.after.generate(context.after.encode_prompts([shot.prompt for shot in shots]), [seed] * len(shots))
    return PairedImages(targets, controls, context.base_images(shots), after)


def control_phrases(context: AttackContext, names: Sequence[str]) -> list[Phrase]:
    """Held-out prompts about kept objects that are nobody's destination, in kept styles."""
    led_to = {removal.destination.words for removal in context.removed}
    kept, styles = context.prompt_builder.retained_names(context.removed)
    chosen = islice((name for name in names if name in kept and name not in led_to), CONTROL_CONCEPTS)
    own = (
        context.prompt_builder.in_held_out_wordings(
            Phrase("", name, style) for style in (styles * PROMPTS_PER_CONTROL)[:PROMPTS_PER_CONTROL]
        )
        for name in chosen
    )
    return [phrase for phrases in own for phrase in phrases]


def score_features(context: AttackContext, instruments: FeatureInstruments, seen: PairedImages) -> FeatureScores:
    """By what there is for the removed concept's kind; empty where there is nothing."""
    kind = context.removal.concept.kind
    sae, head = instruments.autoencoders.get(kind), instruments.heads.get(kind)
    return FeatureScores(
        sae=(score_with_autoencoder(context, sae, seen),) if sae else (),
        diffc=score_with_diffc(context, head, seen) if head and context.name in head.classifier.config.classes else (),
    )


def score_with_autoencoder(context: AttackContext, instrument: AutoencoderInstrument, seen: PairedImages) -> SaeScore:
    """Read images noised under the empty prompt, each by the model that drew them."""
    before, after = (
        activation_maps(variant, images, instrument.place)
        for variant, images in ((context.before, seen.before), (context.after, seen.after))
    )
    about = [context.name] * len(seen.targets) + [phrase.object for phrase in seen.controls]
    prompts = [phrase.text() for phrase in (*seen.targets, *seen.controls)]
    readings = PairedActivations(before.mean((2, 3)), after.mean((2, 3)), prompts, about)
    patches = (flatten_positions(before), flatten_positions(after))
    return sae_score(
        instrument.sae, readings, instrument.features, context.index, instrument.place, instrument.directions, patches
    )


@torch.no_grad()
def activation_maps(variant: ModelVariant, images: Sequence[Image], place: Place) -> Tensor:
    """``(n, c, h, w)``."""
    clean, parts = variant.encode_images(images), []
    for start in range(0, len(clean), BATCH_SIZE):
        part = clean[start : start + BATCH_SIZE]
        noise = seeded_noise(part.shape[1:], 0, range(start, start + len(part)))
        found = activations_at_timestep(
            variant.pipeline, part, noise, place.timestep, [place.module], precision=variant.sampler.precision
        )
        parts.append(found[place.module])
    return torch.cat(parts)


def flatten_positions(found: Tensor) -> Tensor:
    """``(n, c, h, w)`` -> ``(n h w, c)``."""
    return found.flatten(2).transpose(1, 2).flatten(0, 1)


def score_with_diffc(context: AttackContext, head: DiffCInstrument, seen: PairedImages) -> tuple[DiffCScore, ...]:
    """Asked for by prompts; as drawn; and hidden or gone."""
    count, sides = len(seen.targets), (context.before, context.after)
    prompts, pipelines = [phrase.text() for phrase in seen.targets], (context.before.pipeline, context.after.pipeline)
    latents = [
        variant.encode_images(images[:count]) for variant, images in zip(sides, (seen.before, seen.after), strict=True)
    ]
    about = (context.name, context.index, head.place)
    own = score_generated_images(head.classifier, pipelines, (latents[0], latents[1]), prompts, *about)
    drawn = score_generated_images(
        head.classifier, pipelines, (latents[0], latents[1]), prompts, *about, prompted=False
    )
    return own, drawn, score_noised_images(head.classifier, pipelines, latents[0], prompts, *about)
