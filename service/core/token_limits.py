"""Does a phrase fit into the model's context? Checked when the request comes in, without torch."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer

from api_schemas.edits import EditRequest
from api_schemas.problems import InvalidField, Location, invalid_field
from service.errors import InvalidRequest
from service.store.base_models import ModelRegistry, RegisteredModel

BOS_AND_EOS = 2
TEMPLATE_ROOM = 8
"""Tokens that the longest prompt template puts around a phrase."""


class PhraseCheck:
    """Counts tokens with each model's own tokenizer."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry

    def limit(self, model: RegisteredModel) -> int | None:
        """The most tokens that a phrase may have. None: the model ships no tokenizer that we can run."""
        return model.context_length - BOS_AND_EOS - TEMPLATE_ROOM if model.tokenizer_file else None

    def check(self, request: EditRequest) -> None:
        """Raises `UnknownModel`, or `InvalidRequest` that names each phrase that is too long."""
        model = self._registry.get(request.model)
        limit = self.limit(model)
        if limit is None or model.tokenizer_file is None:
            return
        tokenizer = _tokenizer(model.tokenizer_file)
        errors = [
            _too_long(location, tokens, room)
            for location, phrase, room in _phrases(request, limit)
            if (tokens := len(tokenizer.encode(phrase, add_special_tokens=False).ids)) > room
        ]
        if errors:
            raise InvalidRequest("a phrase does not fit into the model's context.", errors=errors)


def _phrases(request: EditRequest, limit: int) -> Iterator[tuple[Location, str, int]]:
    """Each phrase with its place and its room; a pinned prompt is whole and needs no template."""
    for index, removal in enumerate(request.removals):
        yield from ((("removals", index, *location), phrase, limit) for location, phrase in removal.phrases())
    yield from ((("options", "pins", i), pin, limit + TEMPLATE_ROOM) for i, pin in enumerate(request.options.pins))


def _too_long(location: Location, tokens: int, limit: int) -> InvalidField:
    return invalid_field(
        location,
        code="phrase_too_long",
        message=f"has {tokens} tokens; this model has room for {limit}",
        remedy="Use fewer or commoner words.",
    )


@lru_cache(maxsize=8)
def _tokenizer(path: Path) -> Tokenizer:
    return Tokenizer.from_file(str(path))
