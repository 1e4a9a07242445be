"""Find the embedded models by name."""

from pathlib import Path

from api_schemas.errors import UsageError


def embedded_model_folder(model: str) -> Path:
    """The folder of a model that ships with the package."""
    from editor.emoji import WEIGHTS

    if model != "emoji":
        raise UsageError(
            f"There is no model {model!r} in this package.", field="model", remedy="Name its folder with --model-dir."
        )
    return WEIGHTS
