"""The editor's errors: each says what is wrong, where, and what to do about it."""

from collections.abc import Sequence
from typing import Any

from api_schemas.conflicts import Conflict
from api_schemas.errors import ExpungeError


class EditorError(ExpungeError):
    """Base of all errors of the editor."""

    code = "editor_error"


class CheckpointError(EditorError):
    """The base model's files can't be used."""

    code = "checkpoint_unusable"


class ConceptError(EditorError):
    """A concept can't be removed as asked."""

    code = "concept_unusable"


class JudgeError(EditorError):
    """No independent judge is at hand."""

    code = "judge_unusable"


class FeatureError(EditorError):
    """Activations, or what is learned from them, can't be had as asked."""

    code = "features_unusable"


class PolicyError(EditorError):
    """A named policy is not there, or its file is not one."""

    code = "policy_unusable"


class LedgerError(EditorError):
    """A ledger can't be changed as asked, or does not fit the base model."""

    code = "ledger_refused"


class LedgerConflict(LedgerError):
    """Removals of one ledger contradict one another; ``conflicts`` names both parties of each."""

    code = "ledger_conflict"

    def __init__(self, conflicts: Sequence[Conflict]) -> None:
        first, more = conflicts[0], len(conflicts) - 1
        remedy = first.remedy + (f" There are {more} more: --json names them all." if more else "")
        super().__init__(f"{first.message}.", field="removals", remedy=remedy)
        self.conflicts = tuple(conflicts)

    def to_dict(self) -> dict[str, Any]:
        """Return the error as JSON, with every conflict."""
        return super().to_dict() | {"conflicts": [conflict.model_dump() for conflict in self.conflicts]}


class AttackError(EditorError):
    """An attack can't be run as asked."""

    code = "attack_unusable"


class DetectorError(EditorError):
    """A detector is not at hand."""

    code = "detector_unusable"


class SolveError(EditorError):
    """The closed form has no trustworthy solution."""

    code = "solve_failed"


class PublishingError(EditorError):
    """A published file doesn't fit the base model, or is damaged."""

    code = "publishing_refused"


class SigningError(EditorError):
    """A key can't sign, or a list of keys can't be read."""

    code = "signing_refused"
