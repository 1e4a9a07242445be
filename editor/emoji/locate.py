"""Find embedded models by name."""

from pathlib import Path

from api_schemas.errors import UsageError


def embedded_model_folder(model: str) -> Path:
    """Return the folder of a model that ships with the package.

    Raises:
        UsageError: there is no such model.
    """
    from editor.emoji import WEIGHTS

    if model != "emoji":
        raise UsageError(
            f"{model!r} is not an embedded model.",
            field="model",
            remedy="Use `emoji`, or name the folder of another model with --model-dir.",
        )
    return WEIGHTS
