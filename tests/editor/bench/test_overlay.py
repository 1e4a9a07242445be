import pytest

from editor.bench import overlay


def test_overlay_benchmark_reports_both_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay, "FILE_BYTES", 4 * overlay.MEGABYTE)
    monkeypatch.setattr(overlay, "REPEATS", 1)
    result = overlay.run()
    assert (result.name, result.ours.unit, len(result.bounds)) == ("overlay", "s", 2)
    assert all(bound.bound == 0.8 for bound in result.bounds)
