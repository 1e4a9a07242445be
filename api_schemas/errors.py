"""The exception tree of Expunge.

    ExpungeError                      base class of all errors that we raise deliberately
    ├── UsageError                    invalid options or input; nothing was done
    │   └── InvalidSettings           environment variables with unusable values (service.store.errors)
    ├── ClientError                   errors of the client
    │   ├── ServiceUnreachable        the service cannot be reached
    │   ├── ServiceProblem            the service answered with an RFC 9457 problem
    │   ├── JobFailed                 the job ended without a result: failed, canceled or expired
    │   └── DownloadCorrupted         a downloaded file does not match its digest
    ├── ServiceError                  responses of a route (service.errors): MalformedJson, MalformedCsv,
    │                                 InvalidIdempotencyKey, IdempotencyKeyRequired, Unauthorized, Forbidden, NotFound,
    │                                 MethodNotAllowed, LedgerConflict, NotRevocable, IdempotencyConflict, ModelConflict,
    │                                 ModelInUse, ModelUnavailable, PreconditionFailed, BodyTooLarge,
    │                                 RequestTimeout, HeaderTooLarge,
    │                                 UnsupportedMediaType, RangeNotSatisfiable, InvalidRequest, WebhookRefused,
    │                                 IdempotencyKeyReused, TooManyRequests, TooManyJobs, TooManyPlans,
    │                                 TooManyWebhookEndpoints, PlanRefused, PlanTimeout, PlanQueueFull,
    │                                 ServiceUnavailable, SecretsUnavailable, BaseModelChanged,
    │                                 CaseChanged, CaseClaimed, WrongCaseState, RestoredTooEarly, CaseErased, ModelWithheld,
    │                                 NotPreviewable, TooManyPreviews, NothingToRebase, NotRetryable
    ├── StoreError                    errors of the store (service.store.errors)
    │   ├── UnknownModel              the base model is not registered
    │   ├── ModelNotAdmitted          the base model is not ready, or was refused
    │   ├── RefusedModel              the folder or file cannot be registered as a base model
    │   ├── PathNotAllowed            the path of a model is outside of the allowed folders
    │   ├── HubError                  the model cannot be downloaded from the Hub
    │   ├── RegisteredModelChanged    the base model's files are not those that were registered
    │   ├── IncompatibleStore         the database was written by another version
    │   ├── StoreUnavailable          the database is unavailable
    │   │   └── DatabaseCorrupted     its file is damaged
    │   ├── BlobMissing               a referenced blob does not exist
    │   ├── SecretsKeyError           the key that encrypts secrets is missing or wrong
    │   ├── LedgerMoved               another job changed the ledger
    │   └── BlobCorrupted             the content of a blob does not match its name
    ├── LaunchError                   the stack cannot start or keep running (service.launcher.errors)
    ├── WorkerError                   reasons to interrupt a job (worker.errors)
    │   └── JobInterrupted            LeaseLost, WorkerStopped, JobCanceled
    └── EditorError                   the request cannot be computed (editor.errors)

Every error has a stable `code`, a `message`, the `field` it is about and a `remedy`. They are passed unchanged from the
editor to the job's `error`, and from a route to its problem.
"""

from typing import Any, ClassVar

WRONG_INPUT, FAILED = 2, 3
"""Exit codes of commands and processes: the caller can correct the error, or something failed."""


class ExpungeError(Exception):
    """Base class of all errors. `code` is stable and documented; `retryable` means that the same request may succeed later."""

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False
    is_wrong_input: ClassVar[bool] = False
    """Whether the caller's input is wrong: commands then end with :data:`WRONG_INPUT`."""

    def __init__(self, message: str, *, field: str | None = None, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.remedy = remedy

    def __str__(self) -> str:
        """Return message and remedy, as a terminal shows them."""
        return f"{self.message} {self.remedy}".rstrip()

    def to_dict(self) -> dict[str, Any]:
        """Return the error as JSON, as `--json` prints it."""
        return {"code": self.code, "message": self.message, "field": self.field, "remedy": self.remedy}


class UsageError(ExpungeError):
    """The options or the input are invalid; nothing was done."""

    code = "usage"
    is_wrong_input = True


class ClientError(ExpungeError):
    """Base class of the client's errors."""

    code = "client_error"


class ServiceUnreachable(ClientError):
    """The service cannot be reached, or the connection was lost and could not be restored."""

    code = "service_unreachable"
    retryable = True


class JobFailed(ClientError):
    """The job ended without a result."""

    code = "job_failed"


class DownloadCorrupted(ClientError):
    """The downloaded file does not match the digest that the service gives."""

    code = "download_corrupted"
    retryable = True
