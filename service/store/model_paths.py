"""Paths of base models that clients name: only inside the folders that the operator allows, and never through links."""

import os
from collections.abc import Sequence
from pathlib import Path

from service.store.errors import PathNotAllowed, RefusedModel


def resolve_model_path(text: str, roots: Sequence[Path], field: str = "path") -> Path:
    """Return the file or folder of a base model inside one of `roots`.

    Args:
        text: absolute, or relative to one of the roots.
        field: the field of the request that an error names.

    Raises:
        PathNotAllowed: the path leaves the roots, by `..` or by a link. What is there is not revealed.
        RefusedModel: nothing exists at the path.
    """
    candidates = [path for root in roots for path in _inside(root, text)]
    if not candidates:
        raise PathNotAllowed(
            "The path is not inside a folder that models may be registered from.",
            field=field,
            remedy="Ask the operator to move the model there, or to allow its folder with EXPUNGE_MODEL_ROOTS.",
        )
    found = next((path for path in candidates if os.path.exists(path)), None)  # False for a name that is too long
    if found is None:
        raise RefusedModel("There is no file or folder at the path.", field=field, remedy="Correct the path.")
    return found


def _inside(root: Path, text: str) -> list[Path]:
    """Return the path below the root, or nothing if it is outside or passes a link."""
    path = Path(os.path.normpath(root / text))
    real = root.resolve()
    for base in (root, real):
        if path != base and path.is_relative_to(base):
            below = real / path.relative_to(base)
            return [below] if _resolves_to_itself(below) else []
    return []


def _resolves_to_itself(path: Path) -> bool:
    try:
        return path.resolve() == path
    except (OSError, RuntimeError):  # a circular link
        return False
