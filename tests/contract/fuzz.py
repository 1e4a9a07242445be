"""Every operation of the contract with requests that Schemathesis makes up, all its checks on each reply.

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

from tests.contract.live import serving

COUNT = re.compile(r"^\s*(\d+) generated", re.MULTILINE)
FAILURES = re.compile(r"(\d+) unique failure")
ACCEPTANCES = ["2xx", "3xx", "401", "403", "404", "409", "416", "422", "429", "5xx"]
"""Of data that keep to the schema: Schemathesis' own list; 422, for names that contradict one another and phrases too long for
the model are no matter of a schema; and 416, for neither is how long a file is."""
REFUSALS = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "428", "429", "5xx"]
"""Of data that break the schema: Schemathesis' own list, and 413, for what is too large besides isn't read at all."""
CONFIG = "".join(
    f"[checks.{check}]\nexpected-statuses = {statuses}\n"
    for check, statuses in {"positive_data_acceptance": ACCEPTANCES, "negative_data_rejection": REFUSALS}.items()
)


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    failures: int
    cases: int
    output: str


def fuzz(examples: int, seed: int, phases: str = "examples,coverage,fuzzing,stateful") -> Outcome:
    """Run Schemathesis against a service of our own.

    Args:
        examples: for each operation; what the coverage phase makes comes on top.
    """
    with tempfile.TemporaryDirectory() as folder, serving() as live:
        Path(folder, "schemathesis.toml").write_text(CONFIG)
        command = [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"{live.url}/openapi.json",
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
    cases, failures = COUNT.search(done.stdout), FAILURES.search(done.stdout)
    found = int(failures[1]) if failures else int(done.returncode != 0)
    return Outcome(found, int(cases[1]) if cases else 0, done.stdout + done.stderr)


def main() -> None:
    """Print what was found and, last, a summary as JSON; exit with 1 where something was found."""
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
