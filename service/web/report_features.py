"""The features that a report names, as the calibration of the base model has published them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from api_schemas.feature_scores import SaeScore
from api_schemas.features import Feature
from api_schemas.report import AuditReport
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.features import FeatureBrowser, list_browsers
from service.store.errors import UnknownModel

NOT_CALIBRATED = (
    "The base model has no published features: calibrate it, and later reports show what each feature responds to."
)
OTHER_AUTOENCODER = (
    "They were read with another autoencoder than the one of the model's current calibration, so no images are shown."
)
NOT_ALLOWED = "The images that a feature responds to need the scope models:read."


@dataclass(frozen=True)
class PublishedFeatures:
    """The published features of the autoencoder that a score was read with, or why there are none."""

    page: str = ""
    """Path of their page."""
    by_latent: Mapping[int, Feature] = field(default_factory=dict)
    note: str = ""


def find_features(app_state: AppState, caller: Caller, report: AuditReport) -> list[PublishedFeatures]:
    """Return the published features for each score of a report."""
    scores = report.features.sae if report.features else ()
    if not scores or "models:read" not in caller.scopes:
        return [PublishedFeatures(note=NOT_ALLOWED) for _ in scores]
    browsers = _list_browsers(app_state, report.model.id)
    return [match_features(browsers, score) for score in scores]


def match_features(browsers: list[FeatureBrowser], score: SaeScore) -> PublishedFeatures:
    """Return the features of the same autoencoder: the latents of another one mean something else."""
    for browser in browsers:
        one = browser.autoencoder
        if one.digest == score.place.digest:
            return PublishedFeatures(
                f"/features/{one.model}/{one.kind}", {feature.latent: feature for feature in browser.index.features}
            )
    return PublishedFeatures(note=OTHER_AUTOENCODER if browsers else NOT_CALIBRATED)


def _list_browsers(app_state: AppState, model_id: str) -> list[FeatureBrowser]:
    try:
        return list_browsers(app_state, app_state.registry.get(model_id))
    except UnknownModel:  # it is not registered any more
        return []
