"""A short version of `make fuzz`, in a process of its own, because it limits memory and may crash."""

import json
import subprocess
import sys

from tests.fakes.stack import environment
from tests.fuzz.mutations import MUTATIONS, mutated_file

FILES = 250


def test_corrupt_files_are_rejected_or_safe_to_read() -> None:
    command = [sys.executable, "-m", "tests.fuzz.safetensors", "--files", str(FILES), "--seed", "70000"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    summary = json.loads(done.stdout)
    assert sum(summary["outcomes"].values()) == FILES
    assert summary["outcomes"]["accepted"] > 0, "some mutations are harmless: were they refused, nothing would be read"


def test_mutations_are_reproducible() -> None:
    assert [mutated_file(seed) for seed in range(50)] == [mutated_file(seed) for seed in range(50)]
    assert len({mutated_file(seed) for seed in range(50)}) > 40
    assert len(MUTATIONS) == 10
