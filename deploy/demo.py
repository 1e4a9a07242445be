"""`make demo`: start the whole service, remove an object and a style over HTTP, print the verdicts, stop everything.

Everything lies in `.demo` at the repository's root. What is kept there from one run to the next, the images of the unedited
model above all, makes the next run quicker.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from api_schemas.cli.removal_arguments import build_request
from api_schemas.client import Client
from api_schemas.events import Event

FOLDER = Path(__file__).resolve().parents[1] / ".demo"
REMOVALS = {"object": "fox=dog face", "style": "style:ink"}
VALIDATION = {"steps": 10, "prompts": 96, "retain_prompts": 192}
"""Half of the usual steps and prompts: a demo is to be over in minutes."""
STOP_SECONDS = 30.0


def main() -> None:
    """Run the demo; any failure ends it with a traceback and a non-zero exit."""
    started = time.monotonic()
    with service(FOLDER / "data") as client:
        for name, removal in REMOVALS.items():
            remove(client, removal, FOLDER / name, started)
    say(started, "everything is stopped again")


def remove(client: Client, removal: str, out: Path, started: float) -> None:
    """One removal, from the request to the files."""
    edit = client.edits.create(build_request([removal], validation=VALIDATION))
    say(started, f"remove {removal}: POST /v1/edits -> {edit.id}")
    done = edit.wait(narrator(started))
    paths = done.download(out)
    print(f"\n  verdict  {done.verdict}")
    for path in paths:
        print(f"  {path}")
    print()


def narrator(started: float) -> Callable[[Event], None]:
    """Says each phase as it begins."""

    def tell(event: Event) -> None:
        if event.type == "phase":
            say(started, f"  {event.message}")

    return tell


def say(started: float, text: str) -> None:
    """A line with the seconds since the start."""
    print(f"{time.monotonic() - started:6.1f} s  {text}", flush=True)


@contextmanager
def service(data_dir: Path) -> Iterator[Client]:
    """`expunge up` on a free port, with a client for it; gone when the block ends."""
    expunge = Path(sys.executable).with_name("expunge")
    command = [str(expunge), "up", "--data-dir", str(data_dir), "--port", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        found = json.loads(first_line(process))
        with Client(found["url"], Path(found["api_key_file"]).read_text().strip()) as client:
            yield client
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def first_line(process: "subprocess.Popen[str]") -> str:
    """What the launcher prints when it is ready."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit("expunge up did not start; it says why above.")
    return line


if __name__ == "__main__":
    main()
