"""The images of features that a report names: only those of the autoencoder that the report was made with."""

from collections.abc import Callable

import pytest

from api_schemas.access import SCOPES
from api_schemas.features import Feature
from api_schemas.report import AuditReport
from service.api.openapi_examples import EXAMPLE_MODELS
from service.core.app_state import AppState
from service.core.caller import Caller
from service.web.report_features import (
    NOT_ALLOWED,
    NOT_CALIBRATED,
    OTHER_AUTOENCODER,
    PublishedFeatures,
    find_features,
)
from tests.fakes.clock import FakeClock
from tests.fakes.features import record_calibration, store_features, store_file
from tests.fakes.report import AUTOENCODER_WEIGHTS, make_report

FEATURE = next(one for one in EXAMPLE_MODELS if isinstance(one, Feature)).model_copy(update={"latent": 18})
CALLER = Caller("key", "one", frozenset(SCOPES))
Calibrate = Callable[[bytes], None]


@pytest.fixture
def calibrate(app_state: AppState, clock: FakeClock) -> Calibrate:
    def calibrate(weights: bytes) -> None:
        files = store_features(app_state, [FEATURE], {})
        stored = store_file(app_state, "sae/object/sae.safetensors", "application/octet-stream", weights)
        with app_state.database.write() as session:
            record_calibration(session, app_state, [stored, *files], "two", clock())

    return calibrate


@pytest.fixture
def report() -> AuditReport:
    return make_report("edit_1", "fox")


def test_features_of_the_same_autoencoder_are_found(
    app_state: AppState, calibrate: Calibrate, report: AuditReport
) -> None:
    calibrate(AUTOENCODER_WEIGHTS)
    assert find_features(app_state, CALLER, report) == [PublishedFeatures("/features/tiny/object", {18: FEATURE})]


def test_latents_of_another_autoencoder_are_not_mistaken_for_them(
    app_state: AppState, calibrate: Calibrate, report: AuditReport
) -> None:
    calibrate(b"trained again")
    assert find_features(app_state, CALLER, report) == [PublishedFeatures(note=OTHER_AUTOENCODER)]


def test_page_says_why_there_are_none(app_state: AppState, calibrate: Calibrate, report: AuditReport) -> None:
    def note(caller: Caller, report: AuditReport) -> str:
        (found,) = find_features(app_state, caller, report)
        return found.note

    gone = report.model_copy(update={"model": report.model.model_copy(update={"id": "gone"})})
    assert note(CALLER, report) == note(CALLER, gone) == NOT_CALIBRATED
    calibrate(AUTOENCODER_WEIGHTS)
    assert note(Caller("key", "one", frozenset({"artifacts:read"})), report) == NOT_ALLOWED
    assert find_features(app_state, CALLER, report.model_copy(update={"features": None})) == []
