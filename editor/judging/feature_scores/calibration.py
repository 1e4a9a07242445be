"""The calibration of a base model: which concepts it draws and the judge sees, and instruments that read its features.

A calibration is a folder with ``calibration.json``, which is written last, and a folder for each trained autoencoder and
Diff-C classifier.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import load_file, save
from torch import Tensor

from api_schemas.feature_scores import Place
from editor.errors import FeatureError
from editor.features.diffc import load_diffc
from editor.features.diffc.model import CONFIG_FILE as DIFFC_CONFIG
from editor.features.diffc.model import WEIGHTS_FILE as DIFFC_WEIGHTS
from editor.features.linear_probe import LinearProbe
from editor.features.sae.model import CONFIG_FILE as SAE_CONFIG
from editor.features.sae.model import WEIGHTS_FILE as SAE_WEIGHTS
from editor.features.sae.model import load_sae
from editor.io.atomic import write_bytes
from editor.io.digests import file_digest
from editor.judging.feature_scores.evaluate import AutoencoderInstrument, DiffCInstrument, FeatureInstruments
from editor.judging.feature_scores.sae import Direction
from editor.prompts.concepts import ConceptKind

CALIBRATION_FILE, PROBES_FILE = "calibration.json", "probes.safetensors"
SAE_FILES, DIFFC_FILES = (SAE_CONFIG, SAE_WEIGHTS, PROBES_FILE), (DIFFC_CONFIG, DIFFC_WEIGHTS)
"""The files of an autoencoder and of a classifier, in their folders."""
PROTOCOL = "images noised to the timestep, under the empty prompt"


class CalibrationRecord(BaseModel):
    """Base class of the records of a calibration."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ConceptRecord(CalibrationRecord):
    """How well the base model draws a concept and the judge recognises it."""

    kind: ConceptKind
    name: str
    images: int
    recognised: float
    """Share of the images of its prompts in which the judge recognises the concept."""
    known: bool
    """Whether that is enough to measure a removal by."""


class AutoencoderRecord(CalibrationRecord):
    """A sparse autoencoder that is read for concepts of one kind."""

    kind: ConceptKind
    module: str
    timestep: int
    latents: dict[str, list[int]]
    """The latents that detect each concept of any kind, best first; empty if none does."""
    unexplained_variance: float
    """FVU on held-out images."""
    probe_accuracy: float
    """Accuracy of a linear probe of the kind's concepts on held-out images."""

    @property
    def folder(self) -> str:
        """The autoencoder's folder."""
        return f"sae/{self.kind}"


class ClassifierRecord(CalibrationRecord):
    """A Diff-C classifier of the concepts of a kind."""

    kind: ConceptKind
    module: str
    timestep: int
    accuracy: float
    """On held-out images."""

    @property
    def folder(self) -> str:
        """The classifier's folder."""
        return f"diffc/{self.kind}"


class Calibration(CalibrationRecord):
    """The contents of ``calibration.json``."""

    format: Literal["expunge-calibration/1"] = "expunge-calibration/1"
    model: str
    """Digest of the base model's weights."""
    images_digest: str | None = None
    """Digest of all files that the images depend on: those weights, and components from another folder."""
    judge: str
    steps: int
    guidance: float
    seed: int
    concepts: list[ConceptRecord]
    autoencoders: list[AutoencoderRecord]
    classifiers: list[ClassifierRecord]
    controls: list[str]
    """Known objects that may serve as control concepts."""

    def known(self, kind: ConceptKind) -> list[str]:
        """Return the concepts of a kind that the model draws and the judge recognises."""
        return [concept.name for concept in self.concepts if concept.known and concept.kind == kind]


def read_calibration(folder: Path) -> Calibration:
    """Read ``calibration.json``.

    Raises:
        FeatureError: the folder contains no finished calibration.
    """
    try:
        return Calibration.model_validate_json((folder / CALIBRATION_FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise FeatureError(
            f"{folder} does not contain a finished calibration.",
            field="calibration",
            remedy="Run `expunge features calibrate` (again); it resumes where it stopped.",
        ) from error


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Write ``calibration.json``, which marks the calibration as finished."""
    write_bytes(folder / CALIBRATION_FILE, calibration.model_dump_json(indent=1).encode())


def load_instruments(folder: Path) -> FeatureInstruments:
    """Load the instruments of a calibration. Raises FeatureError as :func:`read_calibration`."""
    calibration = read_calibration(folder)
    return FeatureInstruments(
        {record.kind: load_autoencoder(folder, record) for record in calibration.autoencoders},
        {record.kind: load_classifier(folder, record) for record in calibration.classifiers},
        calibration.controls,
    )


def load_autoencoder(folder: Path, record: AutoencoderRecord) -> AutoencoderInstrument:
    """Load an autoencoder with the probe directions of its concepts."""
    home = folder / record.folder
    place = place_of(record, home / SAE_WEIGHTS)
    return AutoencoderInstrument(load_sae(home), place, record.latents, read_directions(home, list(record.latents)))


def load_classifier(folder: Path, record: ClassifierRecord) -> DiffCInstrument:
    """Load a Diff-C classifier."""
    home = folder / record.folder
    return DiffCInstrument(load_diffc(home), place_of(record, home / DIFFC_WEIGHTS))


def place_of(record: AutoencoderRecord | ClassifierRecord, weights: Path) -> Place:
    """Return where an instrument reads, with the digest of its weights."""
    digested = partial(Place, protocol=PROTOCOL, digest=file_digest(weights))
    return digested(module=record.module, timestep=record.timestep)


def write_directions(folder: Path, probes: Sequence[LinearProbe]) -> None:
    """Write the weights of linear probes; the record lists their classes in the same order."""
    weight, bias = (torch.cat([getattr(probe, part) for probe in probes]) for part in ("weight", "bias"))
    write_bytes(folder / PROBES_FILE, save({"weight": weight, "bias": bias}))


def read_directions(folder: Path, names: list[str]) -> dict[str, Direction]:
    """Return the probe direction of each concept."""
    tensors: dict[str, Tensor] = load_file(folder / PROBES_FILE)
    return {name: (tensors["weight"][i], float(tensors["bias"][i])) for i, name in enumerate(names)}
