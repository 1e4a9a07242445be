"""The site in this process, with an edit that has every result: report, images, previews and a ledger of three revisions."""

import hashlib
import io
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvicorn
from PIL import Image
from sqlalchemy.orm import Session

from api_schemas.comparisons import (
    COMPARISON_FILE,
    COMPARISON_IMAGES,
    ComparedImage,
    Comparison,
    ImageComparison,
)
from api_schemas.edits import EditRequest, Removal
from api_schemas.features import Feature, FeatureImages, FeatureLabel
from api_schemas.previews import PREVIEW_SIDES, PreviewTask, preview_image_name
from service.core.app_state import AppState
from service.settings import ServiceSettings
from service.store import api_keys, claims, jobs, ledgers
from service.store.claims import StoredArtifact
from service.store.jobs import NewJob
from service.store.ledgers import NextRevision
from service.web.app import create_site
from tests.fakes.features import record_calibration, store_features, store_file
from tests.fakes.model import write_model
from tests.fakes.report import AUTOENCODER_WEIGHTS, make_report

HOSTILE = '"><script>alert(1)</script> fox'
PROMPT = "a fox <img src=x onerror=alert(1)> in the snow"
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
README_FIGURE = Image.open(Path(__file__).parents[2] / "docs" / "images" / "before-after.png").convert("RGB")
BEFORE_ROWS, SIDE = (26, 308), 128
"""Top of the rows of images before a removal, and the side of each image. Those after it are in the next row."""
COMPARED = {
    26: ((0, "target", HOSTILE), (1, "target", HOSTILE), (5, "retain", "a frog"), (6, "retain", "a lion face")),
    308: ((0, "target", "ink"), (3, "target", "ink"), (6, "retain", "a guitar"), (8, "retain", "a cactus")),
}
"""Column, group and name of the images that are compared, by row."""
OBJECTS = {
    "fox": [(26, column) for column in range(5)],
    "dog face": [(154, column) for column in range(5)],
    **{
        name: [(row, column + other) for row in (308, 436) for other in (0, 5)]
        for column, name in enumerate(("owl", "guitar", "sailboat", "cactus", "skull"))
    },
    **{
        name: [(26, column), (154, column)]
        for column, name in enumerate(("frog", "lion face", "pizza", "rocket", "tiger face"), 5)
    },
}
"""Row and column of the images of each object in the README's figure."""


@dataclass(frozen=True)
class ResultsSite:
    """A running site and its data."""

    url: str
    key: str
    edit_id: str
    preview_id: str
    other_edit_id: str


@contextmanager
def results_site(folder: Path) -> Iterator[ResultsSite]:
    """Serve the site on a free port."""
    models = {"tiny": write_model(folder / "models" / "tiny")}
    settings = ServiceSettings(data_dir=folder, broker_url="memory://", models=models, rate_limit="")
    app_state = AppState.from_settings(settings)
    app_state.database.prepare()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(create_site(app_state), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield _create_data(app_state, f"http://127.0.0.1:{listener.getsockname()[1]}")
        server.should_exit = True
        thread.join(10)


def _create_data(app_state: AppState, url: str) -> ResultsSite:
    key = api_keys.generate_api_key()
    now = app_state.clock()
    with app_state.database.write() as session:
        api_keys.register(session, key, now=now, name="desk")
    edit = _publish(app_state, Removal(concept=HOSTILE, replacement="dog face"), 0, now - timedelta(days=3))
    other = _publish(
        app_state, Removal(concept="ink", kind="style", replacement="openmoji"), 1, now - timedelta(days=1)
    )
    delta = next(file for file in edit.files if file.kind == "delta")
    task = PreviewTask(
        model="tiny", edit=edit.job_id, delta_sha256=delta.sha256, delta_size=delta.size, prompt=PROMPT, seeds=[0, 1]
    )
    images = [
        _store(
            app_state,
            preview_image_name(seed, side),
            "preview",
            "image/png",
            crop(BEFORE_ROWS[0] + number * SIDE, seed),
        )
        for seed in task.seeds
        for number, side in enumerate(PREVIEW_SIDES)
    ]
    with app_state.database.write() as session:
        preview_id = jobs.create(session, NewJob(task, "key", kind="preview"), now=now).id
        _finish(session, preview_id, images, now)
    features = _store_features(app_state)
    with app_state.database.write() as session:
        record_calibration(session, app_state, features, "default", now)
    return ResultsSite(url, str(key), edit.job_id, preview_id, other.job_id)


def _store_features(app_state: AppState) -> list[StoredArtifact]:
    """Store 16 features, each of which responds to one object of the README's figure most."""
    shown = [(name, *place) for name, places in OBJECTS.items() for place in places]
    images = {f"{row}-{column}.png": crop(row, column) for _, row, column in shown}
    features = []
    for number in range(16):
        name = list(OBJECTS)[number % len(OBJECTS)]
        top = sorted(shown, key=lambda one: one[0] != name)[:8]
        strongest = FeatureImages(
            names=[f"{row}-{column}.png" for _, row, column in top],
            activations=[round(4 - i * 0.4, 2) for i in range(8)],
            captions=[one[0] for one in top],
        )
        label = HOSTILE if number == 15 else name
        images[f"heat-{number}.png"] = heatmaps(number)
        features.append(
            Feature(
                latent=7 + 11 * number,
                density=0.011,
                image_share=0.05 + number / 100,
                labels=[FeatureLabel(kind="object", name=label, share=0.9 - number / 40)],
                concepts=[name] if number % 3 == 0 else [],
                top=strongest,
                quantiles=strongest,
                random=strongest,
                heatmap=f"heat-{number}.png",
            )
        )
    weights = store_file(app_state, "sae/object/sae.safetensors", "application/octet-stream", AUTOENCODER_WEIGHTS)
    return [weights, *store_features(app_state, features, images)]


@dataclass(frozen=True)
class Published:
    job_id: str
    files: list[StoredArtifact]


def _publish(app_state: AppState, removal: Removal, revision: int, at: datetime) -> Published:
    """Publish an edit that joins the ledger."""
    request = EditRequest(model="tiny", removals=[removal], ledger=True)
    with app_state.database.write() as session:
        job = jobs.create(session, NewJob(request, "key"), now=at)
    report = make_report(job.id, removal.concept).model_dump_json().encode()
    files = [
        _store(app_state, "delta.safetensors", "delta", "application/octet-stream", bytes(4096)),
        _store(app_state, "lora.safetensors", "lora", "application/octet-stream", bytes(2048)),
        _store(app_state, "figures/samples-target-0.png", "figure", "image/png", encode_png(README_FIGURE)),
        *_store_comparison(app_state, BEFORE_ROWS[revision], removal),
        _store(app_state, "report.html", "report", "text/html; charset=utf-8", b"<!doctype html><title>r</title>"),
        _store(app_state, "report.json", "report", "application/json", report),
    ]
    with app_state.database.write() as session:
        _finish(session, job.id, files, at)
        digest = f"{revision + 1}" * 64
        ledgers.advance(session, job, NextRevision(revision, digest, revision + 1), now=at)
    return Published(job.id, files)


def _store_comparison(app_state: AppState, row: int, removal: Removal) -> list[StoredArtifact]:
    """Store images of two prompts that name the concept, and of two that must stay."""
    buffer, pairs = io.BytesIO(), []
    for number, (column, group, name) in enumerate(COMPARED[row]):
        sides = []
        for side, top in (("before", row), ("after", row + SIDE)):
            content, gone = crop(top, column), side == "after" and group == "target"
            found = {"recognised": removal.replacement if gone else name, "score": 0.31 - number / 100 - 0.2 * gone}
            place = {"offset": buffer.tell(), "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            sides.append(ComparedImage(name=f"{number:04d}-{side}.webp", **place, **found))
            buffer.write(content)
        about = {"group": group, "removal": 0 if group == "target" else None, "expected": name}
        prompt = f"a picture in the style of {name}" if name == removal.concept == "ink" else f"a picture of {name}"
        one = {"prompt": prompt, "seed": number % 2, "before": sides[0], "after": sides[1]}
        pairs.append(ImageComparison.model_validate(about | one | {"change": 0.2 - number / 20}))
    index = Comparison(pairs=pairs, omitted=3).model_dump_json().encode()
    return [
        _store(app_state, COMPARISON_IMAGES, "images", "application/zip", buffer.getvalue()),
        _store(app_state, COMPARISON_FILE, "images", "application/json", index),
    ]


def _finish(session: Session, job_id: str, files: list[StoredArtifact], now: datetime) -> None:
    claim = claims.claim(session, job_id, owner="w", lease=timedelta(seconds=30), now=now)
    assert claim
    verdict = "passed" if claim.kind == "removal" else None
    assert claims.succeed(session, claim, files, "0" * 64, verdict, now=now + timedelta(seconds=75))


def _store(app_state: AppState, name: str, kind: str, media_type: str, content: bytes) -> StoredArtifact:
    blob = app_state.blobs.put(io.BytesIO(content))
    return StoredArtifact(name, kind, media_type, blob.size, blob.sha256)


def crop(row: int, column: int) -> bytes:
    """Return an image of the README's figure as PNG."""
    left = column * SIDE
    return encode_png(README_FIGURE.crop((left, row, left + SIDE, row + SIDE)))


def heatmaps(number: int) -> bytes:
    """Return the heat maps of a feature: three rows of eight maps with 8 x 8 positions."""
    image = Image.new("RGBA", (64, 24), (255, 48, 0, 0))
    for i in range(24):
        left, top = 8 * (i % 8), 8 * (i // 8)
        for x, y in ((3, 2), (4, 2), (3, 3), (4, 3), (2 + number % 4, 4)):
            image.putpixel((left + x, top + y), (255, 48, 0, 200 - 20 * (i % 8)))
    return encode_png(image)


def encode_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
