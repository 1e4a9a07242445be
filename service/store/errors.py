"""What can go wrong with the store. Part of the tree in `api_schemas.errors`."""

from api_schemas.errors import ExpungeError


class StoreError(ExpungeError):
    """The store cannot do what was asked."""

    code = "store_error"


class IncompatibleStore(StoreError):
    """The data folder was written by another version of Expunge."""

    code = "incompatible_store"


class UnknownModel(StoreError):
    """No base model of that id is registered here."""

    code = "unknown_model"


class BlobCorrupted(StoreError):
    """A stored blob is not what its name says."""

    code = "blob_corrupted"
