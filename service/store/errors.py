"""Errors of the store. Part of the tree in `api_schemas.errors`."""

from collections.abc import Mapping

from api_schemas.errors import ExpungeError, UsageError


class StoreError(ExpungeError):
    """Base class of the store's errors."""

    code = "store_error"


class StoreUnavailable(StoreError):
    """The database is unreachable, locked for too long, or its disk is full."""

    code = "store_unavailable"


class DatabaseCorrupted(StoreUnavailable):
    """The file is not a database, or parts of it are damaged."""

    code = "database_corrupted"


class IncompatibleStore(StoreError):
    """The database was written by another version of Expunge."""

    code = "incompatible_store"


class UnknownModel(StoreError):
    """The base model is not registered."""

    code = "unknown_model"


class ModelNotAdmitted(StoreError):
    """The base model is not ready: its files are still being read, it is in quarantine, or it was refused."""

    code = "base_model_not_admitted"


class BlobMissing(StoreError):
    """A referenced blob does not exist."""

    code = "blob_missing"


class BlobCorrupted(StoreError):
    """The content of a blob does not match its name."""

    code = "blob_corrupted"


class LedgerMoved(StoreError):
    """Another job changed the ledger while this one was running, so its result is out of date."""

    code = "ledger_moved"
    retryable = True


class RefusedModel(StoreError):
    """The folder or file cannot be registered as a base model."""

    code = "refused_model"


class PathNotAllowed(StoreError):
    """The path of a model is not inside a folder that the operator allows."""

    code = "path_not_allowed"


class HubError(StoreError):
    """The model cannot be downloaded from the Hub."""

    code = "hub_error"


class RegisteredModelChanged(StoreError):
    """The files of a base model are not those that were registered."""

    code = "registered_model_changed"


class SecretsKeyError(StoreError):
    """The key that encrypts secrets is missing, or is not the one they were encrypted with."""

    code = "secrets_key_error"


class InvalidSettings(UsageError):
    """One or more settings have values that cannot be used. `problems` has a sentence for each environment variable."""

    code = "invalid_settings"

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("\n".join(problems.values()), field=next(iter(problems), None))
        self.problems = dict(problems)
