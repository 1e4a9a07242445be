"""Check that phrases fit into the model's context, when a request arrives and without torch."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer

from api_schemas.edits import EditRequest
from api_schemas.problems import InvalidField, Location, invalid_field
from service.errors import InvalidRequest
from service.store.base_models import ModelRegistry, RegisteredModel

SPECIAL_TOKENS = 2
"""BOS and EOS."""
TEMPLATE_TOKENS = 8
"""Tokens that the longest prompt template adds to a phrase."""


class TokenLimitValidator:
    """Counts tokens with each model's own tokenizer."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry

    def max_phrase_tokens(self, model: RegisteredModel) -> int | None:
        """Return the maximum number of tokens of a phrase; None if the model has no tokenizer that can run here."""
        return model.context_length - SPECIAL_TOKENS - TEMPLATE_TOKENS if model.tokenizer_file else None

    def check(self, request: EditRequest) -> None:
        """Raise `UnknownModel`, `ModelNotAdmitted`, or `InvalidRequest` that names each phrase that is too long."""
        model = self._registry.get_admitted(request.model)
        max_tokens = self.max_phrase_tokens(model)
        if max_tokens is None or model.tokenizer_file is None:
            return
        tokenizer = _load_tokenizer(model.tokenizer_file)
        errors = [
            _too_long(location, tokens, limit)
            for location, phrase, limit in _phrases(request, max_tokens)
            if (tokens := len(tokenizer.encode(phrase, add_special_tokens=False).ids)) > limit
        ]
        if errors:
            raise InvalidRequest("A phrase does not fit into the model's context.", errors=errors)


def _phrases(request: EditRequest, max_tokens: int) -> Iterator[tuple[Location, str, int]]:
    """Yield the location, text and token limit of each phrase. A pinned prompt is complete and needs no template."""
    for index, removal in enumerate(request.removals):
        yield from ((("removals", index, *location), phrase, max_tokens) for location, phrase in removal.phrases())
    pin_limit = max_tokens + TEMPLATE_TOKENS
    yield from ((("options", "pins", index), pin, pin_limit) for index, pin in enumerate(request.options.pins))


def _too_long(location: Location, tokens: int, limit: int) -> InvalidField:
    return invalid_field(
        location,
        code="phrase_too_long",
        message=f"has {tokens} tokens; this model allows {limit}",
        remedy="Use fewer or more common words.",
    )


@lru_cache(maxsize=8)
def _load_tokenizer(path: Path) -> Tokenizer:
    return Tokenizer.from_file(str(path))
