"""Base classes of the wire models, and the types they share."""

import re
import unicodedata
from typing import Annotated, LiteralString

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints
from pydantic_core import PydanticCustomError


class Request(BaseModel):
    """Base of request bodies. Unknown fields and wrong types are rejected, so that no misspelt option is ignored."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, json_schema_serialization_defaults_required=True
    )


class Resource(BaseModel):
    """Base of responses. Unknown fields are ignored, so that an old client can read a newer service.

    The schema requires all fields, because the service sends all.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, json_schema_serialization_defaults_required=True)


class ReportModel(BaseModel):
    """Base of the report's models: immutable, no unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def field_error(code: LiteralString, message: LiteralString, remedy: str, **values: str) -> PydanticCustomError:
    """Return a validation error that includes a remedy.

    `values` fill the `{name}` placeholders of the message. `problems.invalid_fields` reads the remedy.
    """
    return PydanticCustomError(code, message, {"remedy": remedy, **values})


def normalize_text(text: str) -> str:
    """Normalize to NFC and collapse whitespace, so that text that looks equal is equal."""
    if any(unicodedata.category(char) in {"Cc", "Cs"} and not char.isspace() for char in text):
        raise field_error("control_character", "contains a control character", "Send plain text.")
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", text))


SPECIAL_TOKEN = re.compile(r"<\|\w+\|>")
"""The tokens that mark the start and the end of a prompt, such as `<|endoftext|>`."""


def refuse_special_tokens(text: str) -> str:
    """Reject names with a tokenizer's special tokens: every prompt contains those, so a removal would edit every prompt."""
    if token := SPECIAL_TOKEN.search(text):
        raise field_error(
            "special_token",
            "contains the special token {token}, which is part of every prompt",
            "Name something that an image can show.",
            token=token[0],
        )
    return text


MAX_NAME_LENGTH = 200
DEFAULT_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Unicode's `Default_Ignorable_Code_Point` and the interlinear annotation controls: characters that are not shown."""


def normalize_name(text: str) -> str:
    """Normalize to NFKC without invisible characters, so that names that look equal are equal.

    Full-width and other compatibility forms become plain letters; accents and scripts are kept.
    """
    visible = DEFAULT_IGNORABLE.sub("", unicodedata.normalize("NFKC", text)).replace("\N{BRAILLE PATTERN BLANK}", " ")
    name = re.sub(r"\s+", " ", unicodedata.normalize("NFKC", visible)).strip()
    if not any(unicodedata.category(char)[0] in "LNPS" for char in name):
        raise field_error("invisible", "has no visible character", "Send at least one visible character.")
    if len(name) > MAX_NAME_LENGTH:
        raise field_error("expanded_name", "is longer than 200 characters when it is normalized", "Shorten it.")
    return name


Phrase = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_NAME_LENGTH),
    AfterValidator(normalize_text),
    AfterValidator(normalize_name),
    AfterValidator(refuse_special_tokens),
]
"""A name or phrase of a prompt: 1 to 200 characters, one line, NFKC, no invisible characters."""

Prompt = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000), AfterValidator(normalize_text)
]
"""A whole prompt: 1 to 1,000 characters, one line, NFC."""
