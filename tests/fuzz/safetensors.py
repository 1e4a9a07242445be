"""Fuzzing of safetensors files, from registration to reading: each file must be rejected with an error or be safe to read.

    python -m tests.fuzz.safetensors [--files N] [--seed N]

A file must not crash the process, take longer than `TIMEOUT_SECONDS`, or take more than `MAX_EXTRA_BYTES` of memory. Accepted
files must agree with the reference library. Prints a summary as JSON; exit code 1: the seeds of the listed files violate
this.
"""

import argparse
import json
import resource
import signal
import sys
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import psutil
from safetensors import SafetensorError, safe_open

from api_schemas.errors import ExpungeError
from editor.checkpoints.safetensors_header import read_layout
from service.store.database import Database, sqlite_url
from service.store.registered_files import register_model
from tests.fuzz.mutations import mutated_file

TIMEOUT_SECONDS = 5
MAX_EXTRA_BYTES = 512 << 20
NOW = datetime(2026, 5, 1, tzinfo=UTC)


def main() -> None:
    options = _parse_arguments()
    _limit_memory()
    with tempfile.TemporaryDirectory() as folder:
        outcomes, violations = run(Path(folder), range(options.seed, options.seed + options.files))
    print(json.dumps({"files": options.files, "seed": options.seed, "outcomes": outcomes, "violations": violations}))
    raise SystemExit(1 if violations else 0)


def run(folder: Path, seeds: range) -> tuple[dict[str, int], list[str]]:
    """Return the number of files by outcome, and the violations."""
    database = Database(sqlite_url(folder / "expunge.db"))
    database.prepare()
    model = folder / "model"
    model.mkdir()
    (model / "model_index.json").write_text("{}")
    outcomes, violations = Counter[str](), list[str]()
    for seed in seeds:
        path = model / "weights.safetensors"
        path.write_bytes(mutated_file(seed))
        signal.alarm(TIMEOUT_SECONDS)
        try:
            register_model(database, "fuzzed", model, NOW)
            layout = read_layout(path)
            outcomes["accepted"] += 1
            violations += [f"seed {seed}: {what}" for what in find_violations(path, layout.spans)]
        except ExpungeError as error:
            outcomes[error.code] += 1
        except BaseException as error:
            violations.append(f"seed {seed}: {type(error).__name__}: {error}")
        finally:
            signal.alarm(0)
        print(f"\r{seed - seeds.start + 1}/{len(seeds)}", end="", file=sys.stderr)
    return dict(outcomes), violations


def find_violations(path: Path, spans: dict[str, object]) -> list[str]:
    """Return why an accepted file should have been rejected."""
    try:
        with safe_open(path, framework="numpy") as reference:
            same = set(reference.keys()) == set(spans)
    except SafetensorError as error:
        return [f"accepted, but the reference library says {error}"]
    return [] if same else ["the reference library sees other tensors"]


def _limit_memory() -> None:
    """Limit the memory of the process, and turn timeouts into exceptions."""
    limit = psutil.Process().memory_info().vms + MAX_EXTRA_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGALRM, signal.default_int_handler)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.safetensors", description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
