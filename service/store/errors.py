"""What can go wrong with the store. Part of the tree in `api_schemas.errors`."""

from api_schemas.errors import ExpungeError


class StoreError(ExpungeError):
    """The store cannot do what was asked."""

    code = "store_error"


class StoreUnavailable(StoreError):
    """The database does not answer, is locked for longer than anybody should wait, or its disk is full."""

    code = "store_unavailable"


class IncompatibleStore(StoreError):
    """The data folder was written by another version of Expunge."""

    code = "incompatible_store"


class UnknownModel(StoreError):
    """No base model of that id is registered here."""

    code = "unknown_model"


class BlobMissing(StoreError):
    """A blob that something refers to is gone."""

    code = "blob_missing"


class BlobCorrupted(StoreError):
    """A stored blob is not what its name says."""

    code = "blob_corrupted"


class LedgerMoved(StoreError):
    """Another job has changed the ledger meanwhile; what was computed from it is of no use."""

    code = "ledger_moved"
    retryable = True


class RefusedModel(StoreError):
    """A folder that cannot be registered as a base model."""

    code = "refused_model"


class SecretsKeyError(StoreError):
    """There is no key for the secrets in the database, or another one than they were sealed with."""

    code = "secrets_key_error"
