"""The editor's exceptions. Each says what is wrong, in which field, and what to do about it."""

from collections.abc import Sequence
from typing import Any

from api_schemas.conflicts import Conflict
from api_schemas.errors import ExpungeError


class EditorError(ExpungeError):
    """Base class of the editor's errors."""

    code = "editor_error"


class CheckpointError(EditorError):
    """The files of the base model can't be used."""

    code = "checkpoint_unusable"


class ConceptError(EditorError):
    """A concept can't be removed as requested."""

    code = "concept_unusable"
    is_wrong_input = True


class SiteError(EditorError):
    """The model does not have a site that the request names."""

    code = "site_unknown"
    is_wrong_input = True


class JudgeError(EditorError):
    """No independent judge is available."""

    code = "judge_unusable"


class FeatureError(EditorError):
    """Activations or the models trained on them can't be used as requested."""

    code = "features_unusable"


class PolicyError(EditorError):
    """A policy does not exist, or its file is invalid."""

    code = "policy_unusable"
    is_wrong_input = True


class LedgerError(EditorError):
    """A ledger can't be changed as requested, or belongs to another base model."""

    code = "ledger_refused"


class LedgerConflict(LedgerError):
    """Removals in a ledger contradict each other; ``conflicts`` lists both removals of each conflict."""

    code = "ledger_conflict"
    is_wrong_input = True

    def __init__(self, conflicts: Sequence[Conflict]) -> None:
        first, more = conflicts[0], len(conflicts) - 1
        remedy = first.remedy + (f" There are {more} more: --json lists them all." if more else "")
        super().__init__(f"{first.message}.", field="removals", remedy=remedy)
        self.conflicts = tuple(conflicts)

    def to_dict(self) -> dict[str, Any]:
        """Return the error as JSON, with every conflict."""
        return super().to_dict() | {"conflicts": [conflict.model_dump() for conflict in self.conflicts]}


class AttackError(EditorError):
    """An attack can't be run as requested."""

    code = "attack_unusable"


class AttackNotApplicable(AttackError):
    """An attack does not work with this family of models."""

    code = "attack_not_applicable"


class DetectorError(EditorError):
    """A detector is not available."""

    code = "detector_unusable"


class CostError(EditorError):
    """A job would take longer than it may."""

    code = "cost_exceeded"
    is_wrong_input = True


class DeviceError(EditorError):
    """The device can't compute as requested."""

    code = "device_unusable"


class SolveError(EditorError):
    """The closed-form edit has no reliable solution."""

    code = "solve_failed"


class PublishingError(EditorError):
    """A published file does not match the base model, or is damaged."""

    code = "publishing_refused"


class SigningError(EditorError):
    """A key can't sign, or a list of keys can't be read."""

    code = "signing_refused"
