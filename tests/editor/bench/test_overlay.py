import pytest

from editor.bench import overlay


def test_both_sides_run_and_both_bounds_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay, "FILE_BYTES", 4 * overlay.MEGABYTE)
    monkeypatch.setattr(overlay, "REPEATS", 1)
    result = overlay.run()
    assert (result.name, result.ours.unit, len(result.bounds)) == ("overlay", "s", 2)
    assert all(bound.bound == 0.8 for bound in result.bounds)
