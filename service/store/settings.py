"""Settings that service and worker share: where the truth lies. Read from `EXPUNGE_*` variables."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.store import base_model_registration
from service.store.base_models import ModelRegistry
from service.store.blobs import ArtifactStore, LocalBlobs
from service.store.database import Database, sqlite_url

if TYPE_CHECKING:
    from service.store.encryption import SecretBox

DEFAULT_DATA_DIR = Path("~/.expunge")

FolderPath = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]


class StoreSettings(BaseSettings):
    """One data folder holds everything, unless a setting moves a part of it elsewhere."""

    model_config = SettingsConfigDict(env_prefix="EXPUNGE_", frozen=True, extra="ignore", validate_default=True)

    data_dir: FolderPath = Field(default=DEFAULT_DATA_DIR, description="The data folder.")
    database_url: str = Field(default="", description="SQLAlchemy URL. Empty: a SQLite file in the data folder.")
    secrets_key: str = Field(
        default="",
        repr=False,
        description="What webhooks' secrets are sealed with in the database: keys from `expunge secrets new`, separated by "
        "commas; the first seals, all open. Empty: secrets.key in the data folder, made there beside a SQLite file.",
    )
    broker_url: str = Field(default="redis://127.0.0.1:6379/0", description="Where Celery messages go.")
    signing_dir: FolderPath | None = Field(
        default=None,
        description="FolderPath of signing keys, as `expunge keys` keeps it. Without one, and without EXPUNGE_SIGNING_KEY, "
        "what is published is not signed.",
    )
    blobs_url: str = Field(
        default="",
        description="Where published bytes lie: s3://bucket/prefix, with the usual AWS_* variables. "
        "Empty: in the data folder.",
    )
    redirect_seconds: int = Field(
        default=0,
        ge=0,
        le=604_800,
        description="Send downloads to a presigned URL of the bucket that is good for so long. 0: through the API.",
    )
    log_format: Literal["text", "json"] = Field(default="text", description="What a line of the log is.")
    log_concepts: bool = Field(
        default=False, description="Whether what exceptions say may be logged. It may name concepts: personal data."
    )
    retention_days: int = Field(
        default=0, ge=0, description="Ended jobs and their files are forgotten after so many days. 0: never."
    )
    hard_limit_seconds: int = Field(
        default=7200,
        ge=120,
        description="A job that runs longer is killed; it is tried again, up to its attempts.",
    )
    models: dict[str, FolderPath] = Field(default={}, description="Base models: id to diffusers folder, as JSON.")
    models_dir: FolderPath | None = Field(default=None, description="Each of its sub-folders is a base model.")

    def database(self) -> Database:
        """The database that these settings name."""
        return Database(self.database_url or sqlite_url(self.data_dir / "expunge.db"))

    @property
    def secrets_file(self) -> Path:
        """Where the keys lie that secrets are sealed with, unless `secrets_key` has them."""
        return self.data_dir / "secrets.key"

    def secret_box(self) -> "SecretBox":
        """What secrets are sealed with, as of now. Raises `SecretsKeyError`."""
        from service.store.encryption import SecretBox, ensure_key_file  # no worker has secrets

        if self.secrets_key:
            return SecretBox.parse(self.secrets_key)
        if not self.database_url:  # one folder holds everything: whoever comes first makes the key
            ensure_key_file(self.secrets_file)
        return SecretBox.read(self.secrets_file)

    def blobs(self) -> ArtifactStore:
        """The artifact store that these settings name."""
        if not self.blobs_url:
            return LocalBlobs(self.data_dir / "blobs")
        from service.store.s3 import S3Blobs  # the extra `scaleout`

        return S3Blobs(self.blobs_url)

    def registry(self) -> ModelRegistry:
        """The base models that these settings name."""
        database = self.database()

        def added() -> Mapping[str, Path]:
            with database.read() as session:
                return base_model_registration.registered_folders(session)

        return ModelRegistry(self.models, self.models_dir, added)
