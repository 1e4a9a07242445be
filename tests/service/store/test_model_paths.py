"""Paths of models are confined to the folders that the operator allows."""

from pathlib import Path

import pytest

from service.store.errors import PathNotAllowed, RefusedModel
from service.store.model_paths import resolve_model_path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a model, a link out of it, a link to the model, and a secret beside it."""
    root = tmp_path / "models"
    (root / "tiny").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "models-old").mkdir()
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "same").symlink_to(root / "tiny")
    (root / "loop").symlink_to(root / "loop")
    return root


@pytest.mark.parametrize("text", ["tiny", "./tiny", "tiny/../tiny", "{root}/tiny"])
def test_path_inside_a_root_is_found(root: Path, text: str) -> None:
    assert resolve_model_path(text.format(root=root), [root]) == root / "tiny"


@pytest.mark.parametrize(
    "text",
    [
        "../secret", "{root}/../secret", "/etc/passwd", ".", "", "..", "{root}", "{root}-old", "out", "same", "loop", "out/x",
        "{root}/out", "tiny/../../secret",
    ],
)  # fmt: skip
def test_path_outside_is_refused_whatever_is_there(root: Path, text: str) -> None:
    with pytest.raises(PathNotAllowed, match="not inside a folder") as refused:
        resolve_model_path(text.format(root=root), [root])
    assert str(root.parent) not in str(refused.value)


@pytest.mark.parametrize("text", ["absent", "x" * 5000])
def test_missing_path_is_refused(root: Path, text: str) -> None:
    with pytest.raises(RefusedModel, match="no file or folder"):
        resolve_model_path(text, [root])


def test_root_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert resolve_model_path("tiny", [tmp_path / "link"]) == root / "tiny"
    assert resolve_model_path(str(tmp_path / "link" / "tiny"), [tmp_path / "link"]) == root / "tiny"


def test_several_roots_are_searched(root: Path, tmp_path: Path) -> None:
    assert resolve_model_path("tiny", [tmp_path / "secret", root]) == root / "tiny"
    with pytest.raises(PathNotAllowed):
        resolve_model_path("tiny", [])
