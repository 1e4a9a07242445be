import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api_schemas.errors import UsageError
from editor.bench import command
from editor.bench.outcome import BenchmarkResult, at_least, at_most, summarize, time_alternately

ROOT = Path(__file__).parents[3]


def make_result(ratio: float) -> BenchmarkResult:
    return BenchmarkResult(
        name="x",
        ours=summarize([1.0, 3.0, 2.0], "s"),
        peer=summarize([8.0], "s"),
        ratio=summarize([ratio], "x"),
        bounds=[at_least("speed", ratio, 2.0), at_most("memory", 1.0, 1.0)],
    )


def test_measurement_is_median_and_range() -> None:
    assert make_result(4.0).ours.model_dump() == {"median": 2.0, "low": 1.0, "high": 3.0, "unit": "s"}


def test_sides_alternate_and_warm_up_is_not_counted() -> None:
    calls: list[str] = []
    ours, peer, ratio = time_alternately(
        lambda: calls.append("ours"), lambda: calls.append("peer"), repeats=2, before_each=lambda: calls.append("-")
    )
    assert calls == ["ours", "peer", *["-", "ours", "-", "peer"] * 2]
    assert (ours.unit, peer.unit, ratio.unit) == ("s", "s", "x")


@pytest.mark.parametrize(("ratio", "code"), [(4.0, 0), (1.0, 1)])
def test_command_prints_json_and_exit_code_follows_the_bounds(
    ratio: float, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import typer

    fake = type("Module", (), {"run": staticmethod(lambda: make_result(ratio))})
    monkeypatch.setitem(command.BENCHMARKS, "x", "fake")
    monkeypatch.setattr(command, "import_module", {"fake": fake}.__getitem__)
    app = typer.Typer()
    app.command()(command.bench)
    result = CliRunner().invoke(app, ["x", "--json"])
    assert result.exit_code == code
    assert set(json.loads(result.stdout)) == {"name", "ours", "peer", "ratio", "bounds"}


def test_unknown_benchmark_is_rejected() -> None:
    with pytest.raises(UsageError, match="no benchmark"):
        command.bench("nope")


def test_make_bench_runs_all_benchmarks() -> None:
    names = re.search(r"^BENCHMARKS :=(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert names is not None
    assert sorted(names[1].split()) == sorted(command.BENCHMARKS)
