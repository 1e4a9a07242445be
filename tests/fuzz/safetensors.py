"""Spoilt safetensors files, from registration to the first read: each is refused in words, or accepted.

    python -m tests.fuzz.safetensors [--files N] [--seed N]

A file may not crash the process, hang it for more than `SECONDS`, or make it take more than `MEMORY` beyond what it has.
What is accepted must be safe to read: tensors lie inside of the file, and the reference library agrees. Prints a summary as
JSON; exit code 1: some file did otherwise, and its seed is named.
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
from service.store.base_model_registration import register
from service.store.database import Database, sqlite_url
from tests.fuzz.mutations import spoilt

SECONDS = 5
MEMORY = 512 << 20
NOW = datetime(2026, 5, 1, tzinfo=UTC)


def main() -> None:
    options = _options()
    _limit_memory()
    with tempfile.TemporaryDirectory() as folder:
        outcomes, wrong = run(Path(folder), range(options.seed, options.seed + options.files))
    print(json.dumps({"files": options.files, "seed": options.seed, "outcomes": outcomes, "wrong": wrong}))
    raise SystemExit(1 if wrong else 0)


def run(folder: Path, seeds: range) -> tuple[dict[str, int], list[str]]:
    """What became of each file, counted; and what should not have."""
    database = Database(sqlite_url(folder / "expunge.db"))
    database.prepare()
    model = folder / "model"
    model.mkdir()
    (model / "model_index.json").write_text("{}")
    outcomes, wrong = Counter[str](), list[str]()
    for seed in seeds:
        path = model / "weights.safetensors"
        path.write_bytes(spoilt(seed))
        signal.alarm(SECONDS)
        try:
            register(database, "fuzzed", model, NOW)
            layout = read_layout(path)
            outcomes["accepted"] += 1
            wrong += [f"seed {seed}: {what}" for what in unsafe(path, layout.spans)]
        except ExpungeError as error:
            outcomes[error.code] += 1
        except BaseException as error:
            wrong.append(f"seed {seed}: {type(error).__name__}: {error}")
        finally:
            signal.alarm(0)
        print(f"\r{seed - seeds.start + 1}/{len(seeds)}", end="", file=sys.stderr)
    return dict(outcomes), wrong


def unsafe(path: Path, spans: dict[str, object]) -> list[str]:
    """Why an accepted file should have been refused."""
    try:
        with safe_open(path, framework="numpy") as reference:
            same = set(reference.keys()) == set(spans)
    except SafetensorError as error:
        return [f"accepted, but the reference library says {error}"]
    return [] if same else ["the reference library sees other tensors"]


def _limit_memory() -> None:
    """And turn a hang into an exception."""
    limit = psutil.Process().memory_info().vms + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGALRM, signal.default_int_handler)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.safetensors", description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
