"""Schemathesis against every operation of the contract, with all its checks on each reply.

python -m tests.contract.fuzz --examples 100
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.contract.live import live_service

CASE_COUNT = re.compile(r"^\s*(\d+) generated", re.MULTILINE)
FAILURES = re.compile(r"(\d+) unique failure")
ACCEPTED_STATUSES = ["2xx", "3xx", "401", "403", "404", "409", "416", "422", "429", "5xx"]
"""Statuses for valid data: Schemathesis' defaults, 422 for conflicting names and phrases that are too long for the model, and
416, because a schema cannot express the length of a file."""
REJECTED_STATUSES = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "428", "429", "5xx"]
"""Statuses for invalid data: Schemathesis' defaults, and 413, because a body that is too large is not parsed."""
CONFIG = "".join(
    f"[checks.{check}]\nexpected-statuses = {statuses}\n"
    for check, statuses in {
        "positive_data_acceptance": ACCEPTED_STATUSES,
        "negative_data_rejection": REJECTED_STATUSES,
    }.items()
)


@dataclass(frozen=True)
class FuzzResult:
    """The result of a run."""

    failures: int
    cases: int
    output: str


def fuzz(examples: int, seed: int, phases: str = "examples,coverage,fuzzing,stateful") -> FuzzResult:
    """Run Schemathesis against a local service.

    Args:
        examples: per operation; the coverage phase adds more.
    """
    with tempfile.TemporaryDirectory() as folder, live_service() as live:
        Path(folder, "schemathesis.toml").write_text(CONFIG)
        command = [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"{live.url}/openapi-3.2.json",
            f"--header=Authorization: Bearer {live.key}",
            "--checks=all",
            f"--phases={phases}",
            f"--max-examples={examples}",
            f"--seed={seed}",
            "--generation-database=none",
            "--continue-on-failure",
            "--request-timeout=60",
            "--no-color",
        ]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    cases, failures = CASE_COUNT.search(done.stdout), FAILURES.search(done.stdout)
    found = int(failures[1]) if failures else int(done.returncode != 0)
    return FuzzResult(found, int(cases[1]) if cases else 0, done.stdout + done.stderr)


def main() -> None:
    """Print the output and a JSON summary; exit with 1 if there were failures."""
    parser = argparse.ArgumentParser(prog="python -m tests.contract.fuzz")
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    outcome = fuzz(options.examples, options.seed)
    sys.stdout.write(outcome.output)
    sys.stdout.write(json.dumps({"cases": outcome.cases, "seed": options.seed, "failures": outcome.failures}) + "\n")
    raise SystemExit(1 if outcome.failures else 0)


if __name__ == "__main__":
    main()
