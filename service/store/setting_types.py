"""Types of settings: each checks its text and describes the form that it expects."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from service.store.base_models import MODEL_ID
from service.store.errors import SecretsKeyError

DATABASE_DRIVERS = ("sqlite", "sqlite+pysqlite", "postgres", "postgresql", "postgresql+psycopg")
BROKER_SCHEMES = ("redis", "rediss", "redis+socket", "sentinel", "memory")
BUCKET_URL = re.compile(r"s3://[A-Za-z0-9][A-Za-z0-9.-]{1,61}[A-Za-z0-9](/\S*)?")


@dataclass(frozen=True)
class Form:
    """The form that a setting expects, and an example. Part of the metadata of an `Annotated` type."""

    text: str
    example: str


def parse_json(value: Any, empty: object) -> Any:
    """Parse the text of a variable as JSON; empty text means `empty`. Raises `ValueError`."""
    if not isinstance(value, str):
        return value
    return json.loads(value) if value.strip() else empty


def validate_broker_url(url: str) -> str:
    """Return the URL of a Redis-protocol server. Raises `ValueError`."""
    parts = urlsplit(url)
    if parts.scheme not in BROKER_SCHEMES or (parts.scheme == "redis+socket" and not parts.path):
        raise ValueError("not the URL of a Redis-protocol server")
    if parts.scheme != "sentinel":
        parts.port  # noqa: B018  raises ValueError
    return url


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


def _refuse_empty(value: Any) -> Any:
    """An empty path would be the current folder."""
    if value == "":
        raise ValueError("empty")
    return value


def _validate_database_url(url: str) -> str:
    try:
        known = not url or make_url(url).drivername in DATABASE_DRIVERS
    except ArgumentError as error:
        raise ValueError("not a URL") from error
    if not known:
        raise ValueError("unsupported database")
    return url


def _validate_blobs_url(url: str) -> str:
    if url and not BUCKET_URL.fullmatch(url):
        raise ValueError("not the URL of a bucket")
    return url


def _validate_encryption_keys(text: str) -> str:
    if text:
        from service.store.encryption import SecretBox  # Few processes have keys.

        try:
            SecretBox.parse(text)
        except SecretsKeyError as error:
            raise ValueError("not a key") from error
    return text


def _validate_model_ids(models: Mapping[str, Path]) -> Mapping[str, Path]:
    if not all(MODEL_ID.fullmatch(name) for name in models):
        raise ValueError("not a model id")
    return models


FolderPath = Annotated[
    Path, BeforeValidator(_refuse_empty), AfterValidator(_absolute), Form("the path of a folder", "/var/lib/expunge")
]
FolderList = Annotated[
    list[FolderPath],
    BeforeValidator(lambda value: parse_json(value, [])),
    Form("a JSON list of folders", '["/srv/models"]'),
]
OptionalFolder = Annotated[
    Path | None,
    BeforeValidator(lambda value: None if value == "" else value),
    AfterValidator(lambda path: path and _absolute(path)),
    Form("the path of a folder", "/srv/expunge"),
]
OptionalFile = Annotated[
    Path | None,
    BeforeValidator(lambda value: None if value == "" else value),
    AfterValidator(lambda path: path and _absolute(path)),
    Form("the path of a file, or nothing", "/etc/expunge/bases.toml"),
]
DatabaseUrl = Annotated[
    str,
    AfterValidator(_validate_database_url),
    Form("a PostgreSQL or SQLite URL, or nothing", "postgresql://user:password@host/name"),
]
BrokerUrl = Annotated[
    str, AfterValidator(validate_broker_url), Form("the URL of a Redis-protocol server", "redis://127.0.0.1:6379/0")
]
BlobsUrl = Annotated[
    str, AfterValidator(_validate_blobs_url), Form("the s3:// URL of a bucket, or nothing", "s3://bucket/prefix")
]
EncryptionKeys = Annotated[
    str,
    AfterValidator(_validate_encryption_keys),
    Form("keys that `expunge secrets new` prints, separated by commas", "3q2-7w…="),
]
ModelFolders = Annotated[
    dict[str, FolderPath],
    BeforeValidator(lambda value: parse_json(value, {})),
    AfterValidator(_validate_model_ids),
    Form("a JSON object of model ids and paths", '{"sd15": "/srv/models/sd15"}'),
]
