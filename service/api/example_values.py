"""Values that the examples of resources share."""

from datetime import UTC, datetime

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ULID = "01JTB3B6E8QF7YV5M2N4K6P8RS"
EDIT_ID, BATCH_ID, ENDPOINT_ID, DELIVERY_ID, CALIBRATION_ID, PREVIEW_ID = (
    f"{prefix}_{ULID}" for prefix in ("edit", "batch", "whe", "msg", "cal", "prev")
)
CASE_ID, TARGET_ID, DECISION_ID, DEADLINE_ID, STATEMENT_ID = (
    f"{prefix}_{ULID}" for prefix in ("case", "tgt", "dec", "dl", "stm")
)
KEY_ID = "da19aa4f48ec"
SHA256 = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
COMMIT = SHA256[:40]
