"""Profiles are validated when they are loaded."""

from pathlib import Path
from typing import Any

import pytest

from editor.emoji import WEIGHTS
from editor.emoji.profile import PROFILE
from editor.errors import CheckpointError
from editor.prompts.profile import PROFILE_FILE, Profile, general_profile, load_profile


def test_embedded_model_contains_its_profile() -> None:
    assert load_profile(WEIGHTS) == PROFILE


def test_model_without_profile_uses_the_general_one(tmp_path: Path) -> None:
    assert load_profile(tmp_path) == general_profile()
    (tmp_path / "model.safetensors").touch()
    assert load_profile(tmp_path / "model.safetensors") == general_profile()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"held_out_wordings": PROFILE.styled_wordings[:1]}, "held-out"),
        ({"held_out_wordings": ("{a}",)}, "style"),
        ({"styled_wordings": ("a photo of {a}",)}, "style"),
        ({"styled_wordings": ("{a} by {artist}",)}, "artist"),
        ({"plain_wordings": ("{a} in {style}",)}, "must contain"),
        ({"plain_wordings": ("{a",)}, "plain_wordings"),
        ({"default_style": 3}, "default_style"),
    ],
)
def test_invalid_profile_is_rejected(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    values = PROFILE.model_dump() | change
    (tmp_path / PROFILE_FILE).write_text(Profile.model_construct(**values).model_dump_json(warnings=False))
    with pytest.raises(CheckpointError, match=says) as caught:
        load_profile(tmp_path)
    assert caught.value.field == "model"


def test_profile_of_a_single_file_is_beside_it(tmp_path: Path) -> None:
    (tmp_path / PROFILE_FILE).write_text(PROFILE.model_dump_json())
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert load_profile(tmp_path / "model.safetensors") == PROFILE
