"""Settings that service and worker share, read from `EXPUNGE_*` variables."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from api_schemas.errors import UsageError
from service.store import model_registrations, setting_errors
from service.store.base_models import ModelRegistry, RegisteredModel
from service.store.blobs import ArtifactStore, LocalBlobs
from service.store.database import Database, sqlite_url
from service.store.errors import InvalidSettings
from service.store.setting_names import PREFIX, misspelled_variables
from service.store.setting_types import (
    BlobsUrl,
    BrokerUrl,
    DatabaseUrl,
    EncryptionKeys,
    FolderList,
    FolderPath,
    ModelFolders,
    OptionalFolder,
)

if TYPE_CHECKING:
    from service.store.bucket_cache import BucketCache
    from service.store.encryption import SecretBox

DEFAULT_DATA_DIR = Path("~/.expunge")


class StoreSettings(BaseSettings):
    """Where data is stored: by default everything is in one data folder.

    Raises:
        InvalidSettings: values that cannot be used, each with its variable and the form that it expects, and variables whose
            names are misspelled.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="ignore",
        validate_default=True,
        allow_inf_nan=False,
        enable_decoding=False,  # The types parse JSON themselves, so that their errors have the same form as all others.
    )

    def __init__(self, **values: Any) -> None:
        problems = misspelled_variables(os.environ, [*type(self).model_fields])
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise InvalidSettings(problems | setting_errors.explain(type(self), error)) from error
        if problems:
            raise InvalidSettings(problems)

    data_dir: FolderPath = Field(default=DEFAULT_DATA_DIR, description="The data folder.")
    database_url: DatabaseUrl = Field(
        default="", repr=False, description="SQLAlchemy URL. Empty: a SQLite file in the data folder."
    )
    secrets_key: EncryptionKeys = Field(
        default="",
        repr=False,
        description="Keys that encrypt webhook secrets in the database, as printed by `expunge secrets new`, separated by"
        " commas; the first encrypts, all decrypt. Empty: `secrets.key` in the data folder, created there if "
        "the database is SQLite.",
    )
    broker_url: BrokerUrl = Field(
        default="redis://127.0.0.1:6379/0", repr=False, description="URL of the Celery broker."
    )
    signing_dir: OptionalFolder = Field(
        default=None,
        description="Folder of signing keys, as `expunge keys` writes it. If neither it nor EXPUNGE_SIGNING_KEY is set, "
        "published files are not signed.",
    )
    blobs_url: BlobsUrl = Field(
        default="",
        description="Where published files are stored: `s3://bucket/prefix`, with the usual AWS_* variables. Empty: in "
        "the data folder.",
    )
    redirect_seconds: int = Field(
        default=0,
        ge=0,
        le=604_800,
        description="Redirect downloads to a presigned URL of the bucket that is valid for this many seconds. 0: "
        "downloads go through the API, as reports always do.",
    )
    log_format: Literal["text", "json"] = Field(default="text", description="Format of log lines.")
    log_concepts: bool = Field(
        default=False, description="Log exception messages. They may contain concepts, which are personal data."
    )
    retention_days: int = Field(
        default=0, ge=0, le=36_500, description="Delete ended jobs and their files after this many days. 0: never."
    )
    preview_hours: int = Field(
        default=24,
        ge=1,
        le=8760,
        description="Delete ended previews, with their prompts and images, after this many hours.",
    )
    hard_limit_seconds: int = Field(
        default=7200,
        ge=120,
        le=2_592_000,
        description="Kill a job that runs longer; it is tried again until its attempts are used up.",
    )
    models: ModelFolders = Field(
        default={}, description="Base models, as JSON: id to diffusers folder or single safetensors file."
    )
    models_dir: OptionalFolder = Field(
        default=None, description="A folder whose subfolders and safetensors files are base models."
    )
    model_roots: FolderList = Field(
        default=[],
        description="JSON list of folders from which models may be registered over the API, in addition to "
        "`EXPUNGE_MODELS_DIR`. Links are not followed.",
    )
    hub_downloads: bool = Field(
        default=False,
        description="Allow registrations from a Hugging Face Hub. Workers download safetensors, configurations and tokenizers "
        "from `HF_ENDPOINT`, with `HF_TOKEN` if it is set.",
    )
    hub_dir: OptionalFolder = Field(
        default=None,
        description="Folder of downloaded models, which API and workers must share. Empty: `hub` in the data folder.",
    )

    def database(self) -> Database:
        """Return the configured database."""
        return Database(self.database_url or sqlite_url(self.data_dir / "expunge.db"))

    def existing_database(self) -> Database:
        """Return the configured database, which must exist if it is a file. Raises `UsageError` and creates nothing."""
        if not self.database_url and not (self.data_dir / "expunge.db").is_file():
            missing = "The database" if self.data_dir.is_dir() else "The data folder"
            path = self.data_dir / "expunge.db" if self.data_dir.is_dir() else self.data_dir
            raise UsageError(
                f"{missing} {path} does not exist.",
                field="data_dir",
                remedy="Pass the service's folder with --data-dir, or create it with `expunge up` or `expunge db upgrade`.",
            )
        return self.database()

    @property
    def secrets_file(self) -> Path:
        """The file of the encryption keys, unless `secrets_key` is set."""
        return self.data_dir / "secrets.key"

    def secret_box(self) -> "SecretBox":
        """Return the encryption keys as they are now. Raises `SecretsKeyError`."""
        from service.store.encryption import SecretBox, ensure_key_file  # Workers have no secrets.

        if self.secrets_key:
            return SecretBox.parse(self.secrets_key)
        if not self.database_url:  # With everything in one folder, the first process creates the key.
            ensure_key_file(self.secrets_file)
        return SecretBox.read(self.secrets_file)

    def blobs(self) -> ArtifactStore:
        """Return the configured blob store."""
        if not self.blobs_url:
            return LocalBlobs(self.data_dir / "blobs")
        from service.store.s3 import S3Blobs  # Needs the extra `scaleout`.

        return S3Blobs(self.blobs_url)

    def bucket_cache(self) -> "BucketCache | None":
        """Return what workers share besides blobs, or None if they all have this data folder."""
        if not self.blobs_url:
            return None
        from service.store.bucket_cache import BucketCache  # Needs the extra `scaleout`.

        return BucketCache(self.blobs_url)

    @property
    def allowed_model_roots(self) -> list[Path]:
        """The folders from which models may be registered over the API."""
        return [*self.model_roots, *([self.models_dir] if self.models_dir else [])]

    def download_folder(self, model_id: str) -> Path:
        """Return the folder of a model that is downloaded from a Hub."""
        return (self.hub_dir or self.data_dir / "hub") / model_id

    def registry(self) -> ModelRegistry:
        """Return the configured base models."""
        database = self.database()

        def load_registered(model_id: str | None = None) -> Mapping[str, RegisteredModel]:
            with database.read() as session:
                return model_registrations.load(session, model_id)

        return ModelRegistry(self.models, self.models_dir, load_registered)
