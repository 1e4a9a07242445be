"""The features of a model's autoencoders: a searchable list, and the images that each feature responds to."""

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from api_schemas.features import Feature
from api_schemas.previews import MAX_GROUP
from service.api.auth import ReadsModels
from service.api.dependencies import AppStateDep
from service.api.routes.features import FeatureOrder, Kind, Latent, Search, open_features, read_image
from service.api.routes.models import ModelId, list_models
from service.core.caller import Caller
from service.web.rendering import render

router = APIRouter(prefix="/features")

PAGE_FEATURES = 12
ORDERS = {"latent": "number", "purest": "clearest label", "frequent": "most images"}


@router.get("")
def list_autoencoders(request: Request, app_state: AppStateDep, caller: ReadsModels) -> Response:
    """Show the models, each with the autoencoders of its calibration."""
    models = list_models(app_state, caller).data
    return render(request, "features.html", models=models, may_calibrate="models:write" in caller.scopes)


@router.get("/{model_id}/{kind}")
def list_features(
    request: Request,
    model_id: ModelId,
    kind: Kind,
    app_state: AppStateDep,
    caller: ReadsModels,
    search: Search = "",
    order: FeatureOrder = "latent",
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> Response:
    """Show a page of features with their strongest images."""
    browser = open_features(app_state, model_id, kind)
    found = browser.select(search, order)
    return render(
        request,
        "feature_list.html",
        autoencoder=browser.autoencoder,
        features=found[(page - 1) * PAGE_FEATURES : page * PAGE_FEATURES],
        count=len(found),
        search=search,
        order=order,
        orders=ORDERS,
        steered=[feature.latent for feature in found] if search and may_steer(caller, found) else [],
        query=urlencode({"search": search, "order": order}),
        page=page,
        pages=-(-len(found) // PAGE_FEATURES),
    )


@router.get("/{model_id}/{kind}/{latent}")
def show_feature(
    request: Request, model_id: ModelId, kind: Kind, latent: Latent, app_state: AppStateDep, caller: ReadsModels
) -> Response:
    """Show a feature with its strongest images, images at quantiles and random ones."""
    browser = open_features(app_state, model_id, kind)
    return render(
        request,
        "feature.html",
        autoencoder=browser.autoencoder,
        feature=browser.feature(latent),
        scale=browser.index.scale,
        steered=[latent] if may_steer(caller) else [],
    )


def may_steer(caller: Caller, group: Sequence[Feature] = ()) -> bool:
    """Return whether the caller may generate images with a group of features steered, and the group is small enough."""
    return "edits:write" in caller.scopes and len(group) <= MAX_GROUP


router.get("/{model_id}/{kind}/images/{name}")(read_image)
