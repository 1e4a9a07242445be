"""What a route answers when it cannot do what was asked. Part of the tree in `api_schemas.errors`.

Each class is one problem type: its `code`, HTTP `status` and `title` are fixed and documented.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from api_schemas.conflicts import Conflict
from api_schemas.errors import ExpungeError
from api_schemas.problems import InvalidField


class ServiceError(ExpungeError):
    """Root of what a route may raise. `errors` names single fields, `conflicts` both parties of each."""

    code = "internal_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "The service failed"

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        errors: Sequence[InvalidField] = (),
        conflicts: Sequence[Conflict] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.errors = list(errors)
        self.conflicts = list(conflicts)
        self.headers = dict(headers or {})


class MalformedJson(ServiceError):
    """The body is not JSON."""

    code, status, title = "malformed_json", 400, "The body is not valid JSON"


class MalformedCsv(ServiceError):
    """The upload is not the CSV that is read here."""

    code, status, title = "malformed_csv", 422, "The upload is not valid CSV"


class InvalidIdempotencyKey(ServiceError):
    """The Idempotency-Key header cannot be used."""

    code, status, title = "invalid_idempotency_key", 400, "The Idempotency-Key is not usable"


class IdempotencyKeyRequired(ServiceError):
    """The operator wants one with every request that makes a job."""

    code, status, title = "idempotency_key_required", 400, "An Idempotency-Key is needed"


class Unauthorized(ServiceError):
    """No API key, or an unknown one."""

    code, status, title = "unauthorized", 401, "An API key is needed"


class Forbidden(ServiceError):
    """The key is known, and not for this."""

    code, status, title = "forbidden", 403, "The API key does not allow this"


class NotFound(ServiceError):
    """Nothing is there."""

    code, status, title = "not_found", 404, "Not found"


def no_edit(edit_id: str) -> NotFound:
    """For who asks for what is not there, or not his."""
    return NotFound(f'there is no edit "{edit_id}".', remedy="GET /v1/edits lists yours.")


class MethodNotAllowed(ServiceError):
    """The path is there, the method is not."""

    code, status, title = "method_not_allowed", 405, "Method not allowed"


class LedgerConflict(ServiceError):
    """The request contradicts what the model's ledger holds, or is behind it."""

    code, status, title = "ledger_conflict", 409, "The ledger holds something else"


class NotRevocable(ServiceError):
    """Nothing that this edit removed holds any more, or ever did."""

    code, status, title = "not_revocable", 409, "There is nothing to revoke"


class IdempotencyConflict(ServiceError):
    """The same key is in flight."""

    code, status, title = "idempotency_conflict", 409, "The same Idempotency-Key is being processed"


class BodyTooLarge(ServiceError):
    """The body is over the limit."""

    code, status, title = "body_too_large", 413, "The body is too large"


class UnsupportedMediaType(ServiceError):
    """The body is declared as something else than what is read here."""

    code, status, title = "unsupported_media_type", 415, "The body has the wrong media type"


class RangeNotSatisfiable(ServiceError):
    """The Range header asks for bytes that are not there."""

    code, status, title = "range_not_satisfiable", 416, "The range is not satisfiable"


class InvalidRequest(ServiceError):
    """The request is well-formed and makes no sense."""

    code, status, title = "invalid_request", 422, "The request is not valid"


class WebhookRefused(ServiceError):
    """A receiver that we do not call."""

    code, status, title = "webhook_refused", 422, "The receiver cannot be used"


class TooManyRequests(ServiceError):
    """Over the rate limit."""

    code, status, title = "too_many_requests", 429, "Too many requests"


class TooManyJobs(ServiceError):
    """The tenant's queue is full."""

    code, status, title = "too_many_jobs", 429, "Too many jobs are waiting"


class PlanTimeout(ServiceError):
    """No worker answered a dry run in time."""

    code, status, title = "plan_timeout", 503, "No worker had time for a dry run"


class PlanRefused(ServiceError):
    """The worker looked, and the request itself would fail."""

    code, status, title = "plan_refused", 422, "The request would fail"


class BaseModelChanged(ServiceError):
    """Full weights cannot be put together: the base model is not the one that was edited."""

    code, status, title = "base_model_changed", 503, "The base model is not the one that was edited"


class ServiceUnavailable(ServiceError):
    """The store does not answer. Nothing was accepted that is not told; a POST is safe to repeat under its key."""

    code, status, title = "service_unavailable", 503, "The store does not answer"


class SecretsUnavailable(ServiceError):
    """The operator has set no key that secrets are sealed with."""

    code, status, title = "secrets_unavailable", 503, "Secrets cannot be kept"


class IdempotencyKeyReused(ServiceError):
    """The key was used before, with another body."""

    code, status, title = "idempotency_key_reused", 422, "The Idempotency-Key was used for another request"
