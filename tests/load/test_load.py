"""The load programme on a small scale: both services answer every kind of request, and no job is lost."""

import json
import subprocess
import sys
from pathlib import Path

from tests.fakes.stack import ROOT, environment
from tests.load.__main__ import FIGURES, compute_figures, summarize
from tests.load.clients import Measurements


def test_load_run_measures_both_services(tmp_path: Path) -> None:
    # The fifth client follows the stream of its first job, so every kind of request is made on any machine.
    command = [sys.executable, "-m", "tests.load", "--seconds", "1", "--rounds", "1", "--clients", "5"]
    done = subprocess.run(command, env=environment(), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    outcome = json.loads(done.stdout)
    assert (outcome["lost"], outcome["twice"], outcome["errors"]) == (0, 0, 0)
    assert set(outcome["ratio"]) == set(outcome["ours"]) == set(outcome["template"]) == set(FIGURES)
    assert all(value > 0 for value in outcome["ratio"].values())


def test_figures_are_percentiles() -> None:
    measurements = Measurements(wall=2.0, accepted=["a", "b", "c"])
    measurements.seconds["post"] = [n / 1000 for n in range(100, 0, -1)]
    found = compute_figures(measurements)
    assert (found["post_p50_ms"], found["post_p99_ms"], found["accepted_per_s"]) == (51.0, 100.0, 1.5)


def test_ratio_above_one_means_ours_is_better() -> None:
    ours = dict.fromkeys(FIGURES, 10.0)
    ratio = summarize({"ours": [ours], "template": [dict.fromkeys(FIGURES, 20.0)]})["ratio"]
    assert ratio == dict.fromkeys(FIGURES, 2.0) | {"accepted_per_s": 0.5}
