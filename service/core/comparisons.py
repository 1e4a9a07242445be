"""The published images of a validation: their index, and where each image is in the ZIP file."""

from collections.abc import Callable, Mapping
from typing import Literal

from api_schemas.comparisons import COMPARISON_FILE, COMPARISON_IMAGES, ComparedImage, Comparison, ImageComparison
from api_schemas.judging import GroupName
from service.core.app_state import AppState
from service.errors import NotFound
from service.store.orm import Artifact, Job

Order = Literal["group", "changed"]
ORDERS: Mapping[Order, Callable[[ImageComparison], float]] = {"group": lambda pair: 0.0, "changed": lambda p: -p.change}


def read_comparison(
    app_state: AppState, job: Job, group: GroupName | None = None, order: Order = "group"
) -> Comparison:
    """Return the index of an edit's images. Raises `NotFound` if it has published none."""
    file = _find_file(job, COMPARISON_FILE)
    content = b"".join(app_state.blobs.open(file.sha256, 0, file.size))
    index = Comparison.model_validate_json(content)
    pairs = [pair for pair in index.pairs if group in (None, pair.group)]
    return index.model_copy(update={"pairs": sorted(pairs, key=ORDERS[order])})


def find_image(app_state: AppState, job: Job, name: str) -> tuple[Artifact, ComparedImage]:
    """Return the ZIP file, and where an image is in it. Raises `NotFound`."""
    for pair in read_comparison(app_state, job).pairs:
        for image in (pair.before, pair.after):
            if image.name == name:
                return _find_file(job, COMPARISON_IMAGES), image
    raise _not_found(job)


def _find_file(job: Job, name: str) -> Artifact:
    found = next((file for file in job.artifacts if file.name == name), None)
    if found is None:
        raise _not_found(job)
    return found


def _not_found(job: Job) -> NotFound:
    return NotFound(
        f'Edit "{job.id}" has no such images to compare.',
        remedy="Images are published by edits with validation whose names are not withheld, until their files are deleted.",
    )
