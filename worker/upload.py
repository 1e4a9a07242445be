"""Stores the editor's files as blobs and writes the manifest. Only the fenced write publishes them."""

import io
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from editor.publishing.filenames import MANIFEST
from service.store.blobs import ArtifactStore
from service.store.claims import Claim, StoredArtifact
from service.store.failpoints import failpoint

if TYPE_CHECKING:
    from editor.publishing.export import ArtifactFile


def store_artifacts(
    blobs: ArtifactStore, claim: Claim, files: "Sequence[ArtifactFile]", check: Callable[[], None]
) -> list[StoredArtifact]:
    """Store each file and then the manifest that lists them. The manifest is the last of the returned files.

    Repeating it after a crash stores nothing twice.

    Args:
        check: called before each file; raises if the job must stop.
    """
    published = []
    for file in files:
        check()
        published.append(_store_file(blobs, file))
    failpoint("manifest.begun")
    blob = blobs.put(io.BytesIO(_manifest(claim, published).encode()))
    failpoint("manifest.stored")
    return [*published, StoredArtifact(MANIFEST, "manifest", "application/json", blob.size, blob.sha256)]


def _manifest(claim: Claim, published: Sequence[StoredArtifact]) -> str:
    """Return the manifest as JSON, without the digest of withheld names, which could be guessed from it."""
    resource = claim.kind if claim.kind in ("calibration", "preview") else "edit"
    manifest: dict[str, Any] = {resource: claim.job_id, "files": [vars(file) for file in published]}
    if not claim.withholds_names:
        manifest["request_digest"] = claim.request.digest()
    return json.dumps(manifest, indent=2, sort_keys=True)


def _store_file(blobs: ArtifactStore, file: "ArtifactFile") -> StoredArtifact:
    """Store a file. Of an assembled file only the overlay is kept, because its delta is stored as a file of its own."""
    if overlay := file.overlay:
        return StoredArtifact(
            file.name, file.kind, file.media_type, overlay.size, overlay.sha256, overlay.model_dump(mode="json")
        )
    with file.path.open("rb") as source:
        blob = blobs.put(source)
    return StoredArtifact(file.name, file.kind, file.media_type, blob.size, blob.sha256)
