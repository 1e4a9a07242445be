"""The prompts that `expunge foresee --corpus` reads."""

from pathlib import Path

import pytest

from api_schemas.errors import UsageError
from editor.cli.forecast import read_prompts


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_byte_order_mark_is_not_part_of_a_prompt(mark: bytes, tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(mark + b"a fox\n\n un renard \n")
    assert read_prompts(path) == ["a fox", "un renard"]


def test_file_with_only_a_byte_order_mark_has_no_prompts(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(b"\xef\xbb\xbf\n")
    with pytest.raises(UsageError, match="contains no prompts"):
        read_prompts(path)
