"""The features of a base model over the API: list, search, order, pages, images."""

import pytest
from fastapi.testclient import TestClient

from api_schemas.features import Feature, FeatureImages, FeatureLabel
from service.core.app_state import AppState
from tests.fakes.clock import FakeClock
from tests.fakes.features import record_calibration, store_features

PATH = "/v1/models/tiny/autoencoders"
EMPTY = FeatureImages(names=[], activations=[], captions=[])
IMAGES = {"0000.webp": b"RIFF", "heat-3.png": b"PNG"}


def feature(latent: int, name: str, share: float, images: float, concepts: list[str]) -> Feature:
    label = FeatureLabel(kind="object", name=name, share=share)
    groups = {"top": EMPTY, "quantiles": EMPTY, "random": EMPTY}
    about = {"density": 0.1, "image_share": images, "concepts": concepts, "heatmap": f"heat-{latent}.png"}
    return Feature.model_validate({"latent": latent, "labels": [label], **about, **groups})


FEATURES = [
    feature(3, "red fox", 0.5, 0.2, []),
    feature(5, "owl", 1.0, 0.1, ["Fox"]),
    feature(8, "boat", 0.7, 0.9, []),
]


@pytest.fixture
def published(app_state: AppState, clock: FakeClock) -> None:
    files = store_features(app_state, FEATURES, IMAGES)
    with app_state.database.write() as session:
        record_calibration(session, app_state, files, "another-tenant", clock())


def latents(client: TestClient, query: str) -> list[int]:
    return [one["latent"] for one in client.get(f"{PATH}/object/features?{query}").json()["data"]]


def test_model_without_a_calibration_has_no_autoencoders(client: TestClient) -> None:
    assert client.get(PATH).json()["data"] == []
    missing = client.get(f"{PATH}/object/features")
    assert (missing.status_code, missing.json()["remedy"]) == (404, "POST /v1/models/tiny/calibrate publishes them.")


def test_calibration_without_features_is_no_error(client: TestClient, app_state: AppState, clock: FakeClock) -> None:
    with app_state.database.write() as session:
        record_calibration(session, app_state, [], "default", clock())
    assert client.get(PATH).json()["data"] == []


@pytest.mark.usefixtures("published")
def test_autoencoder_has_the_figures_of_its_calibration(client: TestClient) -> None:
    (found,) = client.get(PATH).json()["data"]
    assert (found["kind"], found["module"], found["features"], found["latents"]) == ("object", "mid_block", 3, 1024)
    assert (found["known"], found["unexplained_variance"]) == (14, 0.1)
    assert latents(client, "") == [3, 5, 8]
    assert client.get(found["features_url"]).status_code == 200


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("search=FOX", [3, 5]),
        ("search=fox&order=purest", [5, 3]),
        ("order=purest", [5, 8, 3]),
        ("order=frequent", [8, 3, 5]),
        ("search=quokka", []),
    ],
)
def test_features_are_searched_and_ordered(client: TestClient, query: str, expected: list[int]) -> None:
    assert latents(client, query) == expected


@pytest.mark.usefixtures("published")
def test_pages_end_with_the_list(client: TestClient) -> None:
    first = client.get(f"{PATH}/object/features?limit=2").json()
    assert (len(first["data"]), first["has_more"]) == (2, True)
    last = client.get(f"{PATH}/object/features?limit=2&after={first['next_cursor']}").json()
    assert ([one["latent"] for one in last["data"]], last["has_more"], last["next_cursor"]) == ([8], False, None)


@pytest.mark.usefixtures("published")
def test_feature_and_its_images_are_read(client: TestClient) -> None:
    assert Feature.model_validate(client.get(f"{PATH}/object/features/5").json()) == FEATURES[1]
    for name, kind in (("0000.webp", "image/webp"), ("heat-3.png", "image/png")):
        image = client.get(f"{PATH}/object/images/{name}")
        assert (image.content, image.headers["content-type"]) == (IMAGES[name], kind)


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("object/features/4", 404),
        ("object/images/0001.webp", 404),
        ("style/features", 404),
        ("neither/features", 422),
        ("object/features?order=name", 422),
    ],
)
def test_what_is_not_published_is_refused(client: TestClient, path: str, status: int) -> None:
    assert client.get(f"{PATH}/{path}").status_code == status
