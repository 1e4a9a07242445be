"""The one exception tree of Expunge.

    ExpungeError                      everything that we raise on purpose
    ├── UsageError                    the caller's options or input make no sense; nothing was done
    ├── ClientError                   the client half could not do what was asked
    │   ├── ServiceUnreachable        no connection, or it broke for good
    │   ├── ServiceProblem            the service answered with an RFC 9457 problem
    │   ├── JobFailed                 the job ended without a result: failed, canceled or expired
    │   └── DownloadCorrupted         bytes that arrived are not the bytes that were published
    ├── ServiceError                  what a route answers (service.errors): MalformedJson, MalformedCsv, InvalidIdempotencyKey,
    │                                 IdempotencyKeyRequired, Unauthorized, Forbidden, NotFound, MethodNotAllowed,
    │                                 LedgerConflict, NotRevocable, IdempotencyConflict, BodyTooLarge, UnsupportedMediaType,
    │                                 RangeNotSatisfiable, InvalidRequest, WebhookRefused, IdempotencyKeyReused,
    │                                 TooManyRequests, TooManyJobs, PlanRefused, PlanTimeout, ServiceUnavailable,
    │                                 SecretsUnavailable, BaseModelChanged
    ├── StoreError                    the store cannot do it (service.store.errors)
    │   ├── UnknownModel              no such base model is registered
    │   ├── RefusedModel              a folder that cannot be registered as one
    │   ├── IncompatibleStore         the data folder was written by another version
    │   ├── StoreUnavailable          the database is away for a moment
    │   ├── BlobMissing               a blob that is referred to is not there
    │   ├── SecretsKeyError           no key opens the secrets in the database
    │   ├── LedgerMoved               another job has changed the ledger meanwhile
    │   └── BlobCorrupted             a stored blob is not what its name says
    ├── LaunchError                   the stack cannot start, or stay up (service.launcher.errors)
    ├── WorkerError                   a run stops before its end (worker.errors)
    │   └── JobInterrupted            stop now: LeaseLost, JobCanceled
    └── EditorError                   the science refuses (editor.errors)

Every error carries what a person needs to go on: a stable `code`, a `message`, the `field` that is to
blame and a `remedy`. They travel unchanged from the editor to the job's `error`, and from a route to its
problem.
"""

from typing import Any, ClassVar


class ExpungeError(Exception):
    """Root of the tree. `code` is stable and documented; `retryable`: the same request may work later."""

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, field: str | None = None, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.remedy = remedy

    def __str__(self) -> str:
        """The message, with its remedy: what a terminal shows."""
        return f"{self.message} {self.remedy}".rstrip()

    def to_dict(self) -> dict[str, Any]:
        """As JSON: what `--json` prints."""
        return {"code": self.code, "message": self.message, "field": self.field, "remedy": self.remedy}


class UsageError(ExpungeError):
    """The caller's options or input make no sense; nothing was done."""

    code = "usage"


class ClientError(ExpungeError):
    """The client half could not do what was asked."""

    code = "client_error"


class ServiceUnreachable(ClientError):
    """No connection could be made, or it broke and stayed broken."""

    code = "service_unreachable"
    retryable = True


class JobFailed(ClientError):
    """The job reached a terminal state without a result."""

    code = "job_failed"


class DownloadCorrupted(ClientError):
    """A downloaded file does not have the sha256 that the service names for it."""

    code = "download_corrupted"
    retryable = True
