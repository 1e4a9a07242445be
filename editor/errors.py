"""One exception tree: each error says what is wrong, where, and what to do about it."""


class EditorError(Exception):
    """Base of all errors of the editor.

    ``code`` is stable and documented, ``field`` names the part of the request that is at fault (None if none is), ``remedy``
    says what to do.
    """

    code = "editor_error"

    def __init__(self, message: str, *, field: str | None = None, remedy: str = "") -> None:
        super().__init__(f"{message} {remedy}".strip())
        self.message, self.field, self.remedy = message, field, remedy


class CheckpointError(EditorError):
    """The base model's files can't be used."""

    code = "checkpoint_unusable"


class ConceptError(EditorError):
    """A concept can't be removed as asked."""

    code = "concept_unusable"


class JudgeError(EditorError):
    """No independent judge is at hand."""

    code = "judge_unusable"


class SolveError(EditorError):
    """The closed form has no trustworthy solution."""

    code = "solve_failed"


class PublishingError(EditorError):
    """A published file doesn't fit the base model, or is damaged."""

    code = "publishing_refused"
