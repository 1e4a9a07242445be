"""Measure a fleet: many registered checkpoints that share a few text encoders, one request, with the real editor.

python -m tests.load.fleet --checkpoints 200 --encoders 3
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from sqlalchemy import select

from api_schemas.edits import Removal, Validation
from api_schemas.fleets import Fleet, FleetRequest, FleetSelector
from editor import emoji
from editor.publishing.attestation.keys import KeyFolder
from service.core import fleets as core
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.fleets import PendingFleet
from service.settings import ServiceSettings
from service.store import fleets, model_registrations
from service.store.clock import utc_now
from service.store.orm import Artifact, Job, ModelRegistration, Revision
from worker.runner import Runner
from worker.settings import WorkerSettings

ENCODER = "text_encoder/model.safetensors"
LABEL = "fleet"


@dataclass(frozen=True)
class FleetRun:
    """A service without HTTP, and a worker in this process."""

    app_state: AppState
    runner: Runner
    models: Path

    @classmethod
    def create(cls, root: Path) -> "FleetRun":
        """Create an empty service with a signing key in a folder."""
        (root / "models").mkdir(parents=True)
        shared: dict[str, Any] = {
            "data_dir": root / "data",
            "broker_url": "memory://",
            "model_roots": [root / "models"],
        }
        (root / "data").mkdir()
        KeyFolder(root / "keys").create(utc_now())
        app_state = AppState.from_settings(ServiceSettings(**shared))
        app_state.database.prepare()
        settings = WorkerSettings(**shared, signing_dir=root / "keys", progress_seconds=60.0)
        runner = Runner(settings, app_state.database, app_state.blobs, app_state.registry)
        return cls(app_state, runner, root / "models")

    def add_checkpoints(self, count: int, encoders: int) -> None:
        """Register copies of the embedded model with other cards, which share a number of text encoders in turn."""
        sources = [self._vary_encoder(index) for index in range(encoders)]
        with self.app_state.database.write() as session:
            for index in range(count):
                folder = self.models / f"model-{index:03}"
                link_tree(sources[index % encoders], folder)
                (folder / "README.md").write_text(f"---\nlicense: openrail++\n---\n# Checkpoint {index}\n")
                row = ModelRegistration(
                    id=folder.name, path=str(folder), registered_at=utc_now(), source="path", labels=[LABEL]
                )
                session.add(row)
                session.flush()
                model_registrations.start_reading(session, row, tenant="default", api_key_id="key", now=utc_now())

    def _vary_encoder(self, index: int) -> Path:
        """Return a copy of the embedded model with a slightly different text encoder."""
        folder = self.models.parent / "sources" / str(index)
        shutil.copytree(emoji.WEIGHTS, folder)
        tensors = load_file(folder / ENCODER)
        name = next(name for name in sorted(tensors) if name.endswith("final_layer_norm.bias"))
        tensors[name] += 1e-4 * index
        save_file(tensors, folder / ENCODER, metadata={"format": "pt"})
        return folder

    def submit(self) -> Fleet:
        """Create a fleet that selects all checkpoints."""
        request = FleetRequest(
            selector=FleetSelector(labels=[LABEL]),
            removals=[Removal(concept="fox", replacement="dog face")],
            validation=Validation(enabled=False),
        )
        caller = Caller("key", "default", frozenset())
        return Fleet.model_validate_json(PendingFleet(caller, None, request).submit(self.app_state).reply.body)

    def settle(self) -> None:
        """Run queued jobs, and advance the fleets, until nothing is left to do."""
        while True:
            with self.app_state.database.write() as session:
                fleets.advance_all(session, now=utc_now())
            with self.app_state.database.read() as session:
                queued = session.scalars(select(Job.id).where(Job.status == "queued").order_by(Job.id)).all()
            if not queued:
                return
            for job_id in queued:
                self.runner.run_job(job_id)

    def figures(self, fleet_id: str) -> dict[str, Any]:
        """Return what became of a fleet, and what is stored."""
        with self.app_state.database.read() as session:
            fleet = fleets.get(session, "default", fleet_id)
            assert fleet
            found = core.resource(session, fleet)
            applied = Counter(
                one.application for one in core.targets(session, "default", fleets.targets(session, fleet_id))
            )
            files = session.scalars(select(Artifact)).all()
            revisions = len(session.scalars(select(Revision)).all())
        stored = {file.sha256: file.size for file in files if file.overlay is None}
        return {
            "status": found.status,
            "targets": found.counts.total,
            "solved": applied["solved"],
            "carried": applied["carried"],
            "revisions": revisions,
            "statement": found.statement,
            "bytes_stored": sum(stored.values()),
            "bytes_served_as_weights": sum(file.size for file in files if file.overlay),
            "deltas": len({file.sha256 for file in files if file.name == "delta.safetensors"}),
        }


def link_tree(source: Path, target: Path) -> None:
    """Copy a folder by hard links."""
    shutil.copytree(source, target, copy_function=os.link)
    (target / "README.md").unlink(missing_ok=True)


def measure(root: Path, checkpoints: int, encoders: int) -> dict[str, Any]:
    """Run a fleet and return the figures."""
    run = FleetRun.create(root)
    run.add_checkpoints(checkpoints, encoders)
    start = time.perf_counter()
    run.settle()
    registered = time.perf_counter()
    fleet = run.submit()
    run.settle()
    seconds = {"register": registered - start, "fleet": time.perf_counter() - registered}
    return run.figures(fleet.id) | {f"{name}_seconds": round(value, 1) for name, value in seconds.items()}


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.fleet")
    parser.add_argument("--checkpoints", type=int, default=200)
    parser.add_argument("--encoders", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder) / "run", options.checkpoints, options.encoders)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
