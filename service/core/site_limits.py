"""Check that the layers to edit exist, when a request arrives and without torch."""

from api_schemas.edits import EditRequest
from api_schemas.problems import invalid_field
from service.core.serializers import encoder
from service.errors import InvalidRequest
from service.store.base_models import ModelRegistry


def check_sites(registry: ModelRegistry, request: EditRequest) -> None:
    """Raise `UnknownModel`, or `InvalidRequest` that names each layer that no text encoder of the model has."""
    sites = request.options.layers
    if sites == "auto" or not sites or sites[-1] == 0:  # sites are ascending, and every encoder has a first layer
        return
    encoders = [encoder(name, config) for name, config in registry.get(request.model).encoders.items()]
    layers = max((one.layers for one in encoders), default=None)
    errors = [
        invalid_field(
            ("options", "sites", index),
            code="no_such_layer",
            message=f"is not a layer: the text encoders of {request.model} have {layers} layers",
            remedy=f"Name layers from 0 to {layers - 1}.",
        )
        for index, layer in enumerate(sites)
        if layers is not None and layer >= layers
    ]
    if errors:
        raise InvalidRequest("The model has no such layer.", errors=errors)
