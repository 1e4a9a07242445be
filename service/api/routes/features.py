"""The autoencoders of a base model, their features, and the images that each feature responds to."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from api_schemas.features import Autoencoder, Feature, FeatureKind
from api_schemas.jobs import Page
from service.api.auth import ReadsModels
from service.api.dependencies import AppStateDep
from service.api.file_response import download_responses
from service.api.packed_images import packed_image_response
from service.api.paging import PageLimit
from service.api.routes.models import ModelId, get_model
from service.core import features
from service.core.app_state import AppState
from service.core.features import FeatureBrowser, Order
from service.store.orm import MAX_INTEGER

router = APIRouter(prefix="/v1/models/{model_id}/autoencoders", tags=["features"])

Kind = Annotated[FeatureKind, Path(description="The kind of concepts that the autoencoder is read for.")]
Latent = Annotated[int, Path(ge=0, le=MAX_INTEGER, description="Index of the latent.")]
Search = Annotated[str, Query(max_length=200, description="Only features with a label or concept that contains this.")]
FeatureOrder = Annotated[
    Order, Query(description="By index, by the share of its most frequent label, or by the share of images.")
]
ImageName = Annotated[str, Path(description="Name of an image of a feature.", examples=["0042.webp"])]
BINARY = {"schema": {"type": "string", "format": "binary"}}
IMAGE_CONTENT = {"image/webp": BINARY | {"example": "RIFF…WEBP"}, "image/png": BINARY | {"example": "\x89PNG…"}}


@router.get("", summary="List the autoencoders of a base model")
def list_autoencoders(model_id: ModelId, app_state: AppStateDep, caller: ReadsModels) -> Page[Autoencoder]:
    """Return the autoencoders of the latest calibration. The list is empty if it has published no features."""
    browsers = features.list_browsers(app_state, get_model(app_state, model_id))
    return Page[Autoencoder](data=[browser.autoencoder for browser in browsers])


@router.get("/{kind}/features", summary="List the features of an autoencoder")
def list_features(
    model_id: ModelId,
    kind: Kind,
    app_state: AppStateDep,
    caller: ReadsModels,
    search: Search = "",
    order: FeatureOrder = "latent",
    limit: PageLimit = 20,
    after: Annotated[int, Query(ge=0, le=MAX_INTEGER, description="`next_cursor` of the previous page.")] = 0,
) -> Page[Feature]:
    """Return a page of features. Latents that are active in no image are left out."""
    found = open_features(app_state, model_id, kind).select(search, order)
    end = after + limit
    has_more = len(found) > end
    return Page[Feature](data=found[after:end], has_more=has_more, next_cursor=str(end) if has_more else None)


@router.get("/{kind}/features/{latent}", summary="Read a feature of an autoencoder")
def read_feature(model_id: ModelId, kind: Kind, latent: Latent, app_state: AppStateDep, caller: ReadsModels) -> Feature:
    """Return labels, activations and image names of a feature."""
    return open_features(app_state, model_id, kind).feature(latent)


@router.head("/{kind}/images/{name}", include_in_schema=False)
@router.get(
    "/{kind}/images/{name}",
    summary="Download an image of a feature",
    response_class=Response,
    responses=download_responses(IMAGE_CONTENT),
)
def read_image(
    model_id: ModelId, kind: Kind, name: ImageName, request: Request, app_state: AppStateDep, caller: ReadsModels
) -> Response:
    """Return an image as WebP, or the heat maps of a feature as PNG."""
    browser = open_features(app_state, model_id, kind)
    return packed_image_response(app_state, browser.images, browser.image(name), features.media_type(name), request)


def open_features(app_state: AppState, model_id: str, kind: FeatureKind) -> FeatureBrowser:
    """Return the features of an autoencoder of a model. Raises `NotFound`."""
    return features.open_browser(app_state, get_model(app_state, model_id), kind)
