"""A folder of keys, and a published folder that was signed with them."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from api_schemas.attestation import PublicKeys
from api_schemas.report import AuditReport
from editor.checkpoints.tensor_update import TensorUpdate
from editor.publishing.apply import apply_delta
from editor.publishing.attestation.keys import KeyFolder
from editor.publishing.bundle import Signing, publish

EARLIER = datetime(2025, 12, 1, tzinfo=UTC)
"""Before the report's date."""


@pytest.fixture(scope="session")
def key_folder(tmp_path_factory: pytest.TempPathFactory) -> KeyFolder:
    folder = KeyFolder(tmp_path_factory.mktemp("keys") / "signing")
    folder.create(EARLIER)
    return folder


@pytest.fixture
def keys(key_folder: KeyFolder) -> PublicKeys:
    return key_folder.public()


@pytest.fixture(scope="session")
def published_once(
    report: AuditReport,
    update: TensorUpdate,
    model_dir: Path,
    key_folder: KeyFolder,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A published folder with full weights, as a user downloads it."""
    folder = tmp_path_factory.mktemp("published")
    signer = key_folder.signer(report.created_at)
    publish(report, [update], model_dir, [], folder, signing=Signing(signer, {"request": {"model": "tiny"}}))
    (folder / "overlays.json").unlink()
    apply_delta(model_dir, folder / "delta.safetensors", folder)
    return folder


@pytest.fixture
def published(published_once: Path, tmp_path: Path) -> Path:
    """A copy of the published folder, for tests that modify it."""
    return shutil.copytree(published_once, tmp_path / "published")
