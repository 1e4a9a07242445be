"""Find the embedded models by name."""

from pathlib import Path

from api_schemas.errors import UsageError
from api_schemas.suggestions import did_you_mean
from editor.emoji import DIT_WEIGHTS, WEIGHTS

EMBEDDED_MODELS = {"emoji": WEIGHTS, "emoji-dit": DIT_WEIGHTS}


def embedded_model_folder(model: str) -> Path:
    """Return the folder of a model that ships with the package. Raises `UsageError`: the package has no such model."""
    if model not in EMBEDDED_MODELS:
        raise UsageError(
            f'The package contains no model "{model}".',
            field="model",
            remedy=f"{did_you_mean(model, EMBEDDED_MODELS)}For a model on disk, pass --model-dir.",
        )
    return EMBEDDED_MODELS[model]
