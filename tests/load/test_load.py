"""The load programme at a size that says nothing about speed: both sides answer everything, and nothing is lost."""

import json
import subprocess
import sys
from pathlib import Path

from tests.fakes.stack import ROOT, environment
from tests.load.__main__ import FIGURES, figures, summary
from tests.load.clients import Seen


def test_both_sides_are_measured_and_nothing_is_lost(tmp_path: Path) -> None:
    # The fifth client follows the stream of its first job: each kind of request is made, however slow the machine is.
    command = [sys.executable, "-m", "tests.load", "--seconds", "1", "--rounds", "1", "--clients", "5"]
    done = subprocess.run(command, env=environment(), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    outcome = json.loads(done.stdout)
    assert (outcome["lost"], outcome["twice"], outcome["errors"]) == (0, 0, 0)
    assert set(outcome["ratio"]) == set(outcome["ours"]) == set(outcome["template"]) == set(FIGURES)
    assert all(value > 0 for value in outcome["ratio"].values())


def test_figures_are_those_of_the_times() -> None:
    seen = Seen(wall=2.0, accepted=["a", "b", "c"])
    seen.seconds["post"] = [n / 1000 for n in range(100, 0, -1)]
    found = figures(seen)
    assert (found["post_p50_ms"], found["post_p99_ms"], found["accepted_per_s"]) == (51.0, 100.0, 1.5)


def test_a_ratio_above_one_is_better_for_us() -> None:
    ours = dict.fromkeys(FIGURES, 10.0)
    ratio = summary({"ours": [ours], "template": [dict.fromkeys(FIGURES, 20.0)]})["ratio"]
    assert ratio == dict.fromkeys(FIGURES, 2.0) | {"accepted_per_s": 0.5}
