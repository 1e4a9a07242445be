"""One example of each resource that operators see."""

from datetime import timedelta

from api_schemas.operations import ApiKey, ApiKeyRequest, JobSummary, Queue, Worker
from service.api.example_values import EDIT_ID, KEY_ID, NOW

OPERATIONS_EXAMPLES = (
    ApiKeyRequest(tenant="desk", scopes=["edits:read", "edits:write"], name="takedown desk", days=90),
    ApiKey(
        id=KEY_ID,
        tenant="desk",
        name="takedown desk",
        scopes=["edits:read", "edits:write"],
        created_at=NOW,
        expires_at=NOW + timedelta(days=90),
    ),
    Queue(
        name="edits",
        queued=12,
        running=2,
        oldest_queued_at=NOW - timedelta(minutes=4),
        paused_at=None,
        paused_by=None,
    ),
    Worker(
        name="gpu-1",
        state="busy",
        queues=["edits"],
        version="0.1.0",
        started_at=NOW - timedelta(days=2),
        seen_at=NOW,
        stopped_at=None,
        job=EDIT_ID,
    ),
    JobSummary(
        id=EDIT_ID,
        tenant="desk",
        kind="removal",
        model="emoji",
        status="failed",
        phase="validate",
        attempt=3,
        max_attempts=3,
        created_at=NOW - timedelta(minutes=9),
        finished_at=NOW,
        error_code="worker_crashed",
        retryable=True,
    ),
)
