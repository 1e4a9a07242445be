"""`make demo`: start the service, remove an object and a style over HTTP, print the verdicts and stop the service.

All files are in `.demo` at the repository's root. Later runs are faster, because images of the unedited model are cached there.
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
REMOVALS = {"object": ("emoji", "fox"), "style": ("emoji-dit", "style:ink")}
"""Folder -> model and removal: an object from a UNet that reads CLIP alone, a style from a transformer that reads T5 too."""
VALIDATION = {"steps": 10, "prompts": 96, "budget": {"rounds": 0}}
"""Half of the default prompts and steps, and no rounds of the closed loop, so that the demo finishes within minutes."""
STOP_SECONDS = 30.0


def main() -> None:
    """Run the demo. A failure ends it with a traceback and a non-zero exit code."""
    started = time.monotonic()
    with run_service(FOLDER / "data") as (client, announcement):
        print_address(announcement)
        for name, (model, removal) in REMOVALS.items():
            remove(client, model, removal, FOLDER / name, started)
    log(started, "The service is stopped.")
    print(f"\nSee the jobs in a browser: {Path(sys.executable).with_name('expunge')} up --data-dir {FOLDER / 'data'}")


def print_address(announcement: dict[str, str]) -> None:
    """Print how to open the web pages while the demo runs."""
    url, key_file = announcement["url"], announcement["api_key_file"]
    print(f"  Open {url} in a browser, and sign in with the API key in {key_file}\n", flush=True)


def remove(client: Client, model: str, removal: str, out: Path, started: float) -> None:
    """Request a removal, wait for it and download its files."""
    edit = client.edits.create(build_request([removal], model=model, validation=VALIDATION))
    log(started, f"Remove {removal} from {model}: POST /v1/edits -> {edit.id}")
    finished = edit.wait(phase_logger(started))
    paths = finished.download(out)
    print(f"\n  verdict  {finished.verdict}")
    for path in paths:
        print(f"  {path}")
    print()


def phase_logger(started: float) -> Callable[[Event], None]:
    """Return a callback that logs each phase as it begins."""

    def log_phase(event: Event) -> None:
        if event.type == "phase":
            log(started, f"  {event.message}")

    return log_phase


def log(started: float, text: str) -> None:
    """Print a line with the seconds since the start."""
    print(f"{time.monotonic() - started:6.1f} s  {text}", flush=True)


@contextmanager
def run_service(data_dir: Path) -> Iterator[tuple[Client, dict[str, str]]]:
    """Context manager: run `expunge up` on a free port and yield a client for it, and where it runs."""
    expunge = Path(sys.executable).with_name("expunge")
    command = [str(expunge), "up", "--data-dir", str(data_dir), "--port", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        announcement = json.loads(read_announcement(process))
        with Client(announcement["url"], Path(announcement["api_key_file"]).read_text().strip()) as client:
            yield client, announcement
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def read_announcement(process: "subprocess.Popen[str]") -> str:
    """Return the line that the launcher prints when it is ready."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit("`expunge up` did not start; see its error above.")
    return line


if __name__ == "__main__":
    main()
