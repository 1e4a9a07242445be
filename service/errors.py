"""Errors of the HTTP API, part of the tree in `api_schemas.errors`.

Each class is one problem type (RFC 9457). Its `code`, HTTP `status` and `title` are fixed and documented.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, TypeVar

from api_schemas.conflicts import Conflict
from api_schemas.errors import ExpungeError
from api_schemas.problems import InvalidField, invalid_field

Row = TypeVar("Row")


class ServiceError(ExpungeError):
    """Root of the errors of the API. `errors` lists invalid fields, `conflicts` the parties of each conflict."""

    code = "internal_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

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
    """The body is not valid JSON."""

    code, status, title = "malformed_json", 400, "The body is not valid JSON"


class MalformedCsv(ServiceError):
    """The upload is not valid CSV."""

    code, status, title = "malformed_csv", 422, "The upload is not valid CSV"


class InvalidIdempotencyKey(ServiceError):
    """The Idempotency-Key header is malformed."""

    code, status, title = "invalid_idempotency_key", 400, "The Idempotency-Key is malformed"


class IdempotencyKeyRequired(ServiceError):
    """The server requires an Idempotency-Key with requests that create a job."""

    code, status, title = "idempotency_key_required", 400, "An Idempotency-Key is required"


class Unauthorized(ServiceError):
    """The request has no valid API key."""

    code, status, title = "unauthorized", 401, "A valid API key is required"


class Forbidden(ServiceError):
    """The API key lacks the scope that the route requires."""

    code, status, title = "forbidden", 403, "The API key does not allow this"


class NotFound(ServiceError):
    """The requested resource does not exist."""

    code, status, title = "not_found", 404, "Not found"


def found(row: Row | None, what: str, row_id: str, listed_at: str) -> Row:
    """Return what was looked up. Raises `NotFound` if it does not exist or belongs to another tenant."""
    if row is None:
        raise NotFound(f'There is no {what} "{row_id}".', remedy=f"GET {listed_at} lists what there is.")
    return row


def edit_not_found(edit_id: str) -> NotFound:
    """Return the error for an edit that does not exist or belongs to another tenant."""
    return NotFound(f'There is no edit "{edit_id}".', remedy="GET /v1/edits lists your edits.")


class MethodNotAllowed(ServiceError):
    """The resource does not support the HTTP method."""

    code, status, title = "method_not_allowed", 405, "Method not allowed"


class LedgerConflict(ServiceError):
    """The request conflicts with active removals of the model's ledger."""

    code, status, title = "ledger_conflict", 409, "The request conflicts with the ledger"


class ModelConflict(ServiceError):
    """Another model has this id, or the settings define the model."""

    code, status, title = "model_conflict", 409, "The model cannot be changed here"


class ModelInUse(ServiceError):
    """Jobs or active removals depend on the model."""

    code, status, title = "model_in_use", 409, "The model is in use"


class ModelUnavailable(ServiceError):
    """The model is being registered, is in quarantine, or was refused."""

    code, status, title = "model_not_admitted", 409, "The model is not admitted"


class NotRevocable(ServiceError):
    """The edit has no active removals that could be revoked."""

    code, status, title = "not_revocable", 409, "There is nothing to revoke"


class NothingToRebase(ServiceError):
    """The ledger has no active removals that one edit of another model can make."""

    code, status, title = "nothing_to_rebase", 409, "The ledger cannot be carried over"


class NotRetryable(ServiceError):
    """The job has a result, has not ended, or another job has taken its place."""

    code, status, title = "not_retryable", 409, "The job cannot be retried"


class NotPreviewable(ServiceError):
    """The edit has no published weights to generate images with."""

    code, status, title = "not_previewable", 409, "There are no edited weights"


class CaseChanged(ServiceError):
    """The case has changed since the version that the request is based on."""

    code, status, title = "case_changed", 409, "The case has changed"


class CaseClaimed(ServiceError):
    """Somebody else is working on the case."""

    code, status, title = "case_claimed", 409, "The case is claimed"


class WrongCaseState(ServiceError):
    """The state of the case does not allow this."""

    code, status, title = "wrong_case_state", 409, "The state of the case does not allow this"


class RestoredTooEarly(ServiceError):
    """Targets may not be restored before the time that a counter-notice sets."""

    code, status, title = "restored_too_early", 409, "It is too early to restore"


class CaseErased(ServiceError):
    """The personal data of the case was erased."""

    code, status, title = "case_erased", 409, "The personal data was erased"


class ModelWithheld(ServiceError):
    """A case withholds the model."""

    code, status, title = "model_withheld", 451, "The model is withheld"


class IdempotencyConflict(ServiceError):
    """Another request with the same key is being processed."""

    code, status, title = "idempotency_conflict", 409, "The same Idempotency-Key is being processed"


class RequestTimeout(ServiceError):
    """The request did not arrive in time."""

    code, status, title = "request_timeout", 408, "The request did not arrive in time"


class HeaderTooLarge(ServiceError):
    """The header exceeds the size limit."""

    code, status, title = "header_too_large", 431, "The header is too large"


class PreconditionFailed(ServiceError):
    """The file is not the one that If-Match names."""

    code, status, title = "precondition_failed", 412, "The file is another one"


class BodyTooLarge(ServiceError):
    """The body exceeds the size limit."""

    code, status, title = "body_too_large", 413, "The body is too large"


class UnsupportedMediaType(ServiceError):
    """The media type of the body is not supported."""

    code, status, title = "unsupported_media_type", 415, "The media type of the body is not supported"


class RangeNotSatisfiable(ServiceError):
    """The Range header requests bytes beyond the end of the file."""

    code, status, title = "range_not_satisfiable", 416, "The range is not satisfiable"


class InvalidRequest(ServiceError):
    """The request is well-formed but invalid."""

    code, status, title = "invalid_request", 422, "The request is not valid"


class WebhookRefused(ServiceError):
    """The webhook URL resolves to a forbidden address."""

    code, status, title = "webhook_refused", 422, "The webhook URL is not allowed"

    def __init__(self, message: str, *, remedy: str = "") -> None:
        field = invalid_field(["url"], code=self.code, message=message, remedy=remedy)
        super().__init__(message, remedy=remedy, errors=[field])


class TooManyWebhookEndpoints(ServiceError):
    """The tenant has reached its quota of webhook endpoints."""

    code, status, title = "too_many_webhook_endpoints", 409, "Too many webhook endpoints"


class TooManyRequests(ServiceError):
    """The API key exceeded its rate limit."""

    code, status, title = "too_many_requests", 429, "Too many requests"


class TooManyJobs(ServiceError):
    """The tenant has reached its quota of unfinished jobs."""

    code, status, title = "too_many_jobs", 429, "Too many unfinished jobs"


class TooManyPlans(ServiceError):
    """The tenant has reached its quota of unfinished dry runs."""

    code, status, title = "too_many_plans", 429, "Too many unfinished dry runs"


class TooManyPreviews(ServiceError):
    """The tenant has reached its quota of unfinished previews."""

    code, status, title = "too_many_previews", 429, "Too many unfinished previews"


class PlanQueueFull(ServiceError):
    """The queue of dry runs is full."""

    code, status, title = "plan_queue_full", 503, "The queue of dry runs is full"


class PlanTimeout(ServiceError):
    """No worker finished the dry run in time."""

    code, status, title = "plan_timeout", 503, "The dry run timed out"


class PlanRefused(ServiceError):
    """The dry run found that the job would fail."""

    code, status, title = "plan_refused", 422, "The request would fail"


class BaseModelChanged(ServiceError):
    """Full weights cannot be assembled, because the base model is not the one that was edited."""

    code, status, title = "base_model_changed", 503, "The base model has changed"


class ServiceUnavailable(ServiceError):
    """The store is unavailable. A POST can be repeated safely with the same Idempotency-Key."""

    code, status, title = "service_unavailable", 503, "The store is unavailable"


class SecretsUnavailable(ServiceError):
    """The server has no key to encrypt secrets with."""

    code, status, title = "secrets_unavailable", 503, "Secrets cannot be stored"


class IdempotencyKeyReused(ServiceError):
    """The key was already used with a different request body."""

    code, status, title = "idempotency_key_reused", 422, "The Idempotency-Key was already used for another request"
