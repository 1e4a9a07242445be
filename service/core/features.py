"""The features of base models, as their calibrations have published them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, TypeVar

from api_schemas.features import (
    AUTOENCODER_WEIGHTS,
    FEATURE_IMAGES,
    FEATURES_FILE,
    Autoencoder,
    Feature,
    FeatureIndex,
    FeatureKind,
)
from api_schemas.jobs import InstrumentFigures
from api_schemas.packed_images import PackedImage
from service.core.app_state import AppState
from service.errors import NotFound
from service.store import calibrations
from service.store.base_models import RegisteredModel
from service.store.orm import Artifact, ModelCalibration

Found = TypeVar("Found")
Order = Literal["latent", "purest", "frequent"]
ORDERS: Mapping[Order, Callable[[Feature], float]] = {
    "latent": lambda feature: feature.latent,
    "purest": lambda feature: -max((label.share for label in feature.labels), default=0.0),
    "frequent": lambda feature: -feature.image_share,
}
MEDIA_TYPES = {".webp": "image/webp", ".png": "image/png"}


@dataclass(frozen=True)
class FeatureBrowser:
    """The features of an autoencoder and their images."""

    index: FeatureIndex
    files: Mapping[str, Artifact]
    """The published files of the autoencoder, by name in their folder."""
    autoencoder: Autoencoder

    @property
    def images(self) -> Artifact:
        """The ZIP file with the images."""
        return self.files[FEATURE_IMAGES]

    def select(self, search: str = "", order: Order = "latent") -> list[Feature]:
        """Return the features whose labels or concepts contain a text, in an order."""
        found = [feature for feature in self.index.features if matches(feature, search)]
        return sorted(found, key=ORDERS[order])

    def feature(self, latent: int) -> Feature:
        """Return a feature. Raises `NotFound`."""
        return self._first(
            (feature for feature in self.index.features if feature.latent == latent),
            f"Latent {latent} is active in no image, or does not exist.",
        )

    def image(self, name: str) -> PackedImage:
        """Return where an image is. Raises `NotFound`."""
        return self._first(
            (image for image in self.index.files if image.name == name),
            f'There is no image "{name}" of these features.',
        )

    def _first(self, found: Iterator[Found], message: str) -> Found:
        if (one := next(found, None)) is None:
            raise NotFound(message, remedy=f"GET {self.autoencoder.features_url} lists the features and their images.")
        return one


def list_browsers(app_state: AppState, model: RegisteredModel) -> list[FeatureBrowser]:
    """Return the features of each autoencoder of a model; empty if no calibration has published any."""
    with app_state.database.read() as session:
        calibration = calibrations.of_model(session, model.id, calibrations.current_revision(session, model))
        files = calibrations.files(session, calibration.digest) if calibration else []
    return (
        [_open(app_state, model, calibration, files, file) for file in files if is_index(file)] if calibration else []
    )


def open_browser(app_state: AppState, model: RegisteredModel, kind: FeatureKind) -> FeatureBrowser:
    """Return the features of an autoencoder. Raises `NotFound`."""
    for browser in list_browsers(app_state, model):
        if browser.index.kind == kind:
            return browser
    raise NotFound(
        f'No features of "{model.id}" are published for the kind {kind}.',
        remedy=f"POST /v1/models/{model.id}/calibrate publishes them.",
    )


def is_index(file: Artifact) -> bool:
    """Return whether a file of a calibration is an index of features."""
    return PurePosixPath(file.name).name == FEATURES_FILE


def matches(feature: Feature, search: str) -> bool:
    """Return whether a label or a concept of a feature contains a text, in any case."""
    names = [label.name for label in feature.labels] + feature.concepts
    return any(search.casefold() in name.casefold() for name in names) if search else True


def media_type(name: str) -> str:
    """Return the media type of an image."""
    return MEDIA_TYPES.get(PurePosixPath(name).suffix, "application/octet-stream")


def _open(
    app_state: AppState,
    model: RegisteredModel,
    calibration: ModelCalibration,
    files: Sequence[Artifact],
    file: Artifact,
) -> FeatureBrowser:
    index = app_state.feature_indexes.read(file.sha256, file.size)
    folder = PurePosixPath(file.name).parent
    figures = {one.kind: one for one in map(InstrumentFigures.model_validate, calibration.figures)}[index.kind]
    own = {path.name: one for one in files if (path := PurePosixPath(one.name)).parent == folder}
    weights = own.get(AUTOENCODER_WEIGHTS)
    return FeatureBrowser(
        index,
        own,
        Autoencoder(
            model=model.id,
            kind=index.kind,
            module=index.module,
            timestep=index.timestep,
            latents=index.latents,
            features=len(index.features),
            active=index.active,
            image_count=index.image_count,
            known=figures.known,
            unexplained_variance=figures.unexplained_variance,
            probe_accuracy=figures.probe_accuracy,
            created_at=calibration.created_at,
            digest=weights.sha256 if weights else None,
            features_url=f"/v1/models/{model.id}/autoencoders/{index.kind}/features",
        ),
    )
