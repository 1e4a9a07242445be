import pytest

from editor.bench import overlay


def test_both_sides_run_and_both_bounds_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay, "SIZE", 4 * overlay.MEGABYTE)
    monkeypatch.setattr(overlay, "REPEATS", 1)
    outcome = overlay.run()
    assert (outcome.name, outcome.ours.unit, len(outcome.bounds)) == ("overlay", "s", 2)
    assert all(bound.bound == 0.8 for bound in outcome.bounds)
