import re
from pathlib import Path

from editor.prompts.profile import Profile

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "profiles.md"


def test_the_example_is_a_profile() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    profile = Profile.model_validate_json(example)
    assert set(profile.held_out_wordings).isdisjoint(profile.styled_wordings)
