"""Calibrate a base model: generate reference images, measure which concepts it draws, and train instruments on its features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editor.errors import FeatureError
from editor.features.activations.noised_source import NoisedImages, encode_images
from editor.features.activations.recorder import record, store_folder
from editor.features.activations.store import ActivationStore, Labels
from editor.features.blocks import feature_modules
from editor.features.browser.feature_pack import FeaturePlace, pack_features
from editor.features.browser.latent_cards import BrowserInput
from editor.features.diffc import train_diffc
from editor.features.diffc.model import DiffcConfig
from editor.features.diffc.training import LabelledMaps
from editor.features.linear_probe import LinearProbe, class_indices, fit_probe
from editor.features.sae import SaeConfig
from editor.features.sae.metrics import reconstruction_metrics
from editor.features.sae.model import SparseAutoencoder
from editor.features.sae.training import train_sae
from editor.generation.config import Image, ImageSpec, Sampler
from editor.generation.sampling import ImageCache
from editor.io.progress import ProgressCallback, SubProgress, no_progress
from editor.judging.feature_scores.calibration import (
    CALIBRATION_FILE,
    AutoencoderRecord,
    Calibration,
    ClassifierRecord,
    ConceptRecord,
    read_calibration,
    write_calibration,
    write_directions,
)
from editor.judging.feature_scores.concept_latents import select_latents
from editor.judging.feature_scores.did import MIN_CONTROLS
from editor.judging.judge import Judge
from editor.prompts import PromptBuilder
from editor.prompts.concepts import ConceptKind, Phrase
from editor.prompts.templates import evenly_spaced

KINDS: tuple[ConceptKind, ...] = ("object", "style")
KNOWN_SHARE = 0.5
"""Smallest share of a concept's images in which the judge must recognise it."""
HELD_OUT_EVERY = 4
"""Every fourth image is held out from training."""
GENERATING, RECORDING = 0.8, 0.1
"""Shares of the time that generating images and recording activations take."""


@dataclass(frozen=True)
class CalibrationOptions:
    """How much to generate and to train."""

    objects: int = 100
    """Objects of the profile, evenly spaced."""
    images: int = 8
    """Images of each object, each in another style."""
    seed: int = 0
    timestep: int = 25
    """Timestep that the images are noised to: the nearly clean ones tell concepts apart best (Revelio, section 4)."""
    latents: int | None = None
    """Size of the dictionary; None: four times the width of the activations."""
    active_latents: int = 16
    training_steps: int = 4000
    """Training steps of each autoencoder."""

    @property
    def image_count(self) -> int:
        """Number of images that are generated."""
        return self.objects * self.images


@dataclass(frozen=True)
class ReferenceImage:
    """A generated image of the base model, with the object and the style of its prompt."""

    phrase: Phrase
    image: Image

    def label(self, kind: ConceptKind) -> str:
        """Return the concept of a kind that the prompt names."""
        return self.phrase.object if kind == "object" else self.phrase.style


@dataclass(frozen=True)
class CalibrationRun:
    """A calibration in a folder. Images, recordings and training are resumed; ``calibration.json`` is written last."""

    folder: Path
    pipeline: Any
    builder: PromptBuilder
    judge: Judge
    sampler: Sampler
    images: ImageCache
    options: CalibrationOptions = CalibrationOptions()
    progress: ProgressCallback = no_progress
    model: str | None = None
    """Digest of the base model's weights; None: that of the images, which depend on nothing else."""

    def run(self) -> Calibration:
        """Return the calibration, computed if the folder has none of this model yet.

        Raises:
            FeatureError: the judge recognises fewer than two of the model's objects, or features cannot be read from it.
        """
        if self.is_finished:
            return self.finished()
        concepts = [concept for kind in KINDS for concept in self.measure_concepts(kind)]
        known = {kind: [c.name for c in concepts if c.known and c.kind == kind] for kind in KINDS}
        if len(known["object"]) <= MIN_CONTROLS:
            raise FeatureError(
                f"The judge recognises {len(known['object'])} of the {self.options.objects} objects that the model was "
                f"asked for, and {MIN_CONTROLS + 1} are needed to compare features.",
                field="judge",
                remedy="Use a judge and a profile that fit the model's images, or more sampler steps.",
            )
        self.record_activations()
        comparable = {kind: names for kind, names in known.items() if len(names) > 1}
        calibration = Calibration(
            model=self.model or self.images.model_digest,
            images_digest=self.images.model_digest,
            judge=self.judge.short_id,
            steps=self.sampler.steps,
            guidance=self.sampler.guidance,
            seed=self.options.seed,
            concepts=concepts,
            autoencoders=[self.train_autoencoder(kind, comparable) for kind in comparable],
            classifiers=[self.train_classifier(kind, names) for kind, names in comparable.items()],
            controls=known["object"],
        )
        write_calibration(self.folder, calibration)
        self.progress(1.0)
        return calibration

    @property
    def is_finished(self) -> bool:
        """Whether the folder contains a calibration."""
        return (self.folder / CALIBRATION_FILE).is_file()

    def finished(self) -> Calibration:
        """Return the calibration that the folder contains.

        Raises:
            FeatureError: it is of another model.
        """
        found = read_calibration(self.folder)
        if (found.images_digest or found.model) != self.images.model_digest:
            raise FeatureError(
                f"{self.folder} contains the calibration of another model.",
                field="folder",
                remedy="Choose another folder, or delete this one.",
            )
        return found

    @cached_property
    def phrases(self) -> list[Phrase]:
        """The prompts: each object in several styles, in wordings of which consecutive ones differ."""
        profile = self.builder.profile
        styles, wordings = cycle(profile.styles), cycle(profile.styled_wordings)
        objects = evenly_spaced(profile.object_names, self.options.objects)
        named = [name for name in objects for _ in range(self.options.images)]
        phrases = [Phrase(next(wordings), name, next(styles)) for name in named]
        return [phrase for phrase in phrases if self.builder.fits(phrase.text())]

    @cached_property
    def references(self) -> list[ReferenceImage]:
        """The reference images."""
        specs = [ImageSpec(phrase.text(), self.options.seed + i) for i, phrase in enumerate(self.phrases)]
        part = SubProgress(self.progress, 0.0, GENERATING)
        images = self.images.generate(self.pipeline, self.sampler, specs, part)
        return [ReferenceImage(phrase, image) for phrase, image in zip(self.phrases, images, strict=True)]

    @cached_property
    def recognised(self) -> dict[ConceptKind, list[bool]]:
        """Whether the judge recognises the object and the style of each image's prompt."""
        embeddings = self.judge.embed_images([reference.image for reference in self.references])
        found = {}
        for kind in KINDS:
            wanted = [reference.label(kind) for reference in self.references]
            seen, _ = self.judge.classify(kind, embeddings, list(dict.fromkeys(wanted)))
            found[kind] = [a == b for a, b in zip(seen, wanted, strict=True)]
        return found

    def measure_concepts(self, kind: ConceptKind) -> list[ConceptRecord]:
        """Return how well each concept of a kind is drawn and recognised."""
        hits: dict[str, list[bool]] = {}
        for reference, hit in zip(self.references, self.recognised[kind], strict=True):
            hits.setdefault(reference.label(kind), []).append(hit)
        return [concept_record(kind, name, own) for name, own in hits.items()]

    @property
    def modules(self) -> dict[ConceptKind, str]:
        """The module that each kind of concept is read from."""
        return feature_modules(self.pipeline)

    def record_activations(self) -> None:
        """Record every reference image's activations at both modules."""
        modules = list(dict.fromkeys(self.modules.values()))
        latents = encode_images(self.pipeline, [reference.image for reference in self.references])
        source = NoisedImages(
            self.pipeline, latents, modules, [self.options.timestep], precision=self.sampler.precision
        )
        labels: Labels = {kind: [reference.label(kind) for reference in self.references] for kind in KINDS}
        record(self.folder / "activations", source, labels, "patch")
        self.progress(GENERATING + RECORDING)

    def store(self, kind: ConceptKind) -> ActivationStore:
        """Return the recorded activations of the module for a kind of concept."""
        key = self.modules[kind], self.options.timestep
        return ActivationStore(store_folder(self.folder / "activations", key))

    def split(self, kind: ConceptKind, known: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return the indices of the training and the held-out images: recognised images of known concepts."""
        usable = [
            i
            for i, (reference, hit) in enumerate(zip(self.references, self.recognised[kind], strict=True))
            if hit and reference.label(kind) in known
        ]
        seen: dict[str, int] = {}
        held_out = []
        for i in usable:
            label = self.references[i].label(kind)
            seen[label] = seen.get(label, 0) + 1
            held_out.append(seen[label] % HELD_OUT_EVERY == 0)
        rows, out = torch.tensor(usable), torch.tensor(held_out)
        return rows[~out], rows[out] if out.any() else rows[~out]

    def labels(self, kind: ConceptKind, items: Tensor) -> list[str]:
        """Return the concepts of a kind that the prompts of some images name."""
        return [self.references[i].label(kind) for i in items.tolist()]

    def autoencoder_config(self, width: int) -> SaeConfig:
        """Return the configuration of an autoencoder of activations of a width."""
        options = self.options
        return SaeConfig(
            latents=options.latents or 4 * width,
            k=min(options.active_latents, width // 2),
            steps=options.training_steps,
            seed=options.seed,
        )

    @property
    def training_device(self) -> str:
        """The device that autoencoders are trained on."""
        device = self.pipeline.device
        return str(device) if device.type != "meta" else "cpu"

    def train_autoencoder(self, kind: ConceptKind, known: Mapping[ConceptKind, Sequence[str]]) -> AutoencoderRecord:
        """Train an autoencoder on all positions of all images, and choose the latents of each known concept."""
        store, timestep = self.store(kind), self.options.timestep
        folder = self.folder / "sae" / kind
        width = store.manifest.channels
        config = self.autoencoder_config(width)
        sae = train_sae(store.rows(), config, folder=folder / "training", device=self.training_device, quiet=True).sae
        pooled = store.maps().float().mean((2, 3))
        probes, latents = dict[ConceptKind, LinearProbe](), dict[str, list[int]]()
        for each, names in known.items():
            train, _ = self.split(each, names)
            labels = self.labels(each, train)
            probes[each] = fit_probe(pooled[train], labels)
            with torch.no_grad():
                scores = sae.pre_activations(pooled[train])
            latents |= {name: select_latents(scores, labels, name) for name in probes[each].classes}
        _, held_out = self.split(kind, known[kind])
        sae.save(folder, {"module": self.modules[kind], "timestep": timestep, "config": config.model_dump()})
        write_directions(folder, list(probes.values()))
        place = FeaturePlace(kind, self.modules[kind], timestep)
        pack_features(self.browser_input(kind, sae), place, latents, self.options.seed).write(folder)
        return AutoencoderRecord(
            kind=kind,
            module=self.modules[kind],
            timestep=timestep,
            latents=latents,
            unexplained_variance=reconstruction_metrics(sae, positions(store, held_out)).fvu,
            probe_accuracy=probes[kind].accuracy(pooled[held_out], self.labels(kind, held_out)),
        )

    def browser_input(self, kind: ConceptKind, sae: SparseAutoencoder) -> BrowserInput:
        """Return an autoencoder with the reference images and what their prompts name."""
        maps = self.store(kind).maps()
        return BrowserInput(
            sae=sae,
            title=self.modules[kind],
            card={},
            images=[reference.image for reference in self.references],
            maps=lambda items: maps[items.start : items.stop].permute(0, 2, 3, 1),
            grid=self.store(kind).manifest.grid,
            labels={each: [reference.label(each) for reference in self.references] for each in KINDS},
        )

    def train_classifier(self, kind: ConceptKind, known: Sequence[str]) -> ClassifierRecord:
        """Train a Diff-C classifier of the known concepts of a kind."""
        store, module = self.store(kind), self.modules[kind]
        train, held_out = self.split(kind, known)
        classes = tuple(sorted(set(self.labels(kind, train))))
        config = DiffcConfig(
            module=module, timestep=self.options.timestep, channels=store.manifest.channels, classes=classes
        )
        parts = [
            LabelledMaps(store.maps()[items], class_indices(self.labels(kind, items), classes))
            for items in (train, held_out)
        ]
        trained = train_diffc(parts[0].load, parts[0].targets, parts[1], config, progress=False)
        trained.model.save(self.folder / "diffc" / kind)
        return ClassifierRecord(kind=kind, module=module, timestep=self.options.timestep, accuracy=trained.accuracy)


def concept_record(kind: ConceptKind, name: str, hits: Sequence[bool]) -> ConceptRecord:
    """Return the record of a concept from whether the judge recognises it in each of its images."""
    share = sum(hits) / len(hits)
    return ConceptRecord(kind=kind, name=name, images=len(hits), recognised=share, known=share >= KNOWN_SHARE)


def positions(store: ActivationStore, items: Tensor) -> Tensor:
    """Return the rows ``(items * positions, channels)`` of some images."""
    each = store.manifest.rows_per_item
    return store.rows().reshape(store.manifest.items, each, -1)[items].flatten(0, 1)
