"""The Hugging Face clients download the edited model with HF_ENDPOINT as their only setting."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
import uvicorn
from huggingface_hub import HfApi
from huggingface_hub.errors import EntryNotFoundError
from huggingface_hub.hf_api import RepoFile, RepoFolder

from api_schemas.edits import EditRequest, Removal
from editor import emoji
from editor.checkpoints import open_checkpoint
from editor.publishing.provenance import model_digests
from service.api.app import create_app
from service.api.hub_repository import list_base_files
from service.core.app_state import AppState
from service.core.digest_cache import DigestCache
from service.settings import ServiceSettings
from service.store import api_keys, claims, jobs, ledgers
from service.store.base_models import files_below
from service.store.claims import StoredArtifact
from service.store.clock import utc_now
from service.store.jobs import NewJob
from service.store.ledgers import NextRevision
from tests.fakes.stack import ROOT, wait_until

WEIGHTS = ROOT / "editor" / "emoji" / "weights"
TEXT_ENCODER = "text_encoder/model.safetensors"

pytestmark = pytest.mark.skipif(
    not (WEIGHTS / "model_index.json").is_file() or find_spec("torch") is None,
    reason="needs torch and the embedded model's weights",
)

CLIENT = """
import json, sys
from diffusers import StableDiffusionPipeline
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

edit, model = sys.argv[1:]
found = {"folder": snapshot_download(f"expunge/{edit}"), "ledger": snapshot_download(f"expunge/{model}", revision="1")}
pipeline = StableDiffusionPipeline.from_pretrained(f"expunge/{edit}")
weights = pipeline.text_encoder.state_dict()
found["bias"] = next(v for k, v in weights.items() if k.endswith("final_layer_norm.bias")).abs().sum().item()
for name, options in (("expunge/nothing", {}), (f"expunge/{edit}", {"revision": "0" * 40})):
    try:
        snapshot_download(name, **options)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        found[name] = type(error).__name__
print(json.dumps(found))
"""


def edited_text_encoder() -> bytes:
    """Return the base model's text encoder with a changed bias."""
    import torch
    from safetensors.torch import load_file, save

    tensors = load_file(WEIGHTS / TEXT_ENCODER)
    name = next(name for name in tensors if name.endswith("final_layer_norm.bias"))
    tensors[name] = torch.zeros_like(tensors[name])
    return save(tensors, metadata={"format": "pt"})


@pytest.fixture
def app_state(tmp_path: Path) -> Iterator[AppState]:
    settings = ServiceSettings(data_dir=tmp_path / "data", broker_url="memory://", models={"emoji": WEIGHTS})
    settings.data_dir.mkdir()
    app_state = AppState.from_settings(settings)
    app_state.database.prepare()
    yield app_state
    app_state.database.close()


@pytest.fixture
def edit(app_state: AppState) -> str:
    """Create an edit that published an edited text encoder as the ledger's first revision."""
    blob, now = app_state.blobs.put(io.BytesIO(edited_text_encoder())), utc_now()
    files = [StoredArtifact(TEXT_ENCODER, "weights", "application/octet-stream", blob.size, blob.sha256)]
    with app_state.database.write() as session:
        request = EditRequest(removals=[Removal(concept="fox")], ledger=True)
        job = jobs.create(session, NewJob(request, "key"), now=now)
        claim = claims.claim(session, job.id, owner="w", lease=timedelta(seconds=30), now=now)
        assert claim
        assert claims.succeed(session, claim, files, "0" * 64, "passed", now=now)
        ledgers.advance(session, job, NextRevision(0, "d" * 64, 1), now=now)
    return job.id


@pytest.fixture
def endpoint(app_state: AppState) -> Iterator[str]:
    """Run the service and return the URL for HF_ENDPOINT."""
    key = api_keys.generate_api_key()
    with app_state.database.write() as session:
        api_keys.register(session, key, now=utc_now())
    server = uvicorn.Server(uvicorn.Config(create_app(app_state), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://:{key}@127.0.0.1:{port}/hf"
    server.should_exit = True
    thread.join()


def test_hub_clients_download_the_edited_model(endpoint: str, edit: str, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    alone = kept | {"HF_ENDPOINT": endpoint, "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, edit, "emoji"], env=alone, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["bias"] == 0.0
    assert found["expunge/nothing"] == "RepositoryNotFoundError"
    assert found[f"expunge/{edit}"] == "RevisionNotFoundError"
    for folder in (Path(found["folder"]), Path(found["ledger"])):
        assert (folder / TEXT_ENCODER).read_bytes() == edited_text_encoder()
        unchanged = "unet/diffusion_pytorch_model.safetensors"
        assert (folder / unchanged).read_bytes() == (WEIGHTS / unchanged).read_bytes()


def api_of(endpoint: str) -> HfApi:
    url = httpx.URL(endpoint)
    return HfApi(endpoint=str(url.copy_with(username="", password="")), token=url.password)


def test_hub_client_lists_trees_and_paths(endpoint: str, edit: str) -> None:
    api, repo = api_of(endpoint), f"expunge/{edit}"
    top = {entry.path: entry for entry in api.list_repo_tree(repo)}
    assert isinstance(top["text_encoder"], RepoFolder)
    assert isinstance(top["model_index.json"], RepoFile)
    assert not any("/" in path for path in top)
    below = {entry.path for entry in api.list_repo_tree(repo, "text_encoder", expand=True)}
    assert {TEXT_ENCODER, "text_encoder/config.json"} <= below
    everything = [entry.path for entry in api.list_repo_tree(repo, recursive=True)]
    assert {"text_encoder", TEXT_ENCODER} <= set(everything)
    assert sorted(api.list_repo_files(repo)) == sorted(path for path in everything if path not in top or "." in path)
    found = api.get_paths_info(repo, ["text_encoder", TEXT_ENCODER, "nothing"], expand=True)
    assert [entry.path for entry in found] == ["text_encoder", TEXT_ENCODER]
    assert found[1].lfs.sha256 == hashlib.sha256(edited_text_encoder()).hexdigest()
    assert found[1].last_commit.oid == api.model_info(repo).sha
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree(repo, "nowhere"))


def test_hub_client_reads_sizes(endpoint: str, edit: str) -> None:
    info = api_of(endpoint).model_info(f"expunge/{edit}", files_metadata=True)
    assert info.siblings
    sizes = {sibling.rfilename: (sibling.size, sibling.lfs and sibling.lfs.sha256) for sibling in info.siblings}
    content = edited_text_encoder()
    assert sizes[TEXT_ENCODER] == (len(content), hashlib.sha256(content).hexdigest())
    assert all(size for size, _ in sizes.values())


def test_hub_client_lists_refs_and_commits(endpoint: str, edit: str) -> None:
    api = api_of(endpoint)
    refs, commits = (
        api.list_repo_refs("expunge/emoji", include_pull_requests=True),
        api.list_repo_commits("expunge/emoji"),
    )
    assert [(ref.name, ref.target_commit) for ref in refs.tags] == [("1", commits[0].commit_id)]
    assert refs.branches[0].target_commit == commits[0].commit_id == api.model_info("expunge/emoji").sha
    assert [commit.title for commit in commits] == [f"Revision 1: {edit}", "Base model"]
    base = api.model_info("expunge/emoji", revision=commits[1].commit_id)
    assert base.sha == commits[1].commit_id
    assert [commit.commit_id for commit in api.list_repo_commits("expunge/emoji", revision=base.sha)] == [base.sha]
    (only,) = api.list_repo_commits(f"expunge/{edit}")
    assert only.commit_id == api.model_info(f"expunge/{edit}").sha


def test_hub_client_logs_in(endpoint: str, tmp_path: Path) -> None:
    url = httpx.URL(endpoint)
    assert api_of(endpoint).whoami()["name"] == "default"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    alone = kept | {"HF_ENDPOINT": str(url.copy_with(username="", password="")), "HOME": str(tmp_path)}
    hf = str(Path(sys.executable).with_name("hf"))
    for arguments in (["login", "--token", url.password], ["whoami"]):
        done = subprocess.run([hf, "auth", *arguments], env=alone, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    assert "default" in done.stdout
    wrong = subprocess.run([hf, "auth", "login", "--token", "wrong"], env=alone, capture_output=True, timeout=60)
    assert wrong.returncode != 0


def test_hub_routes_require_a_key(endpoint: str, edit: str) -> None:
    url = httpx.URL(endpoint).copy_with(username="", password="")
    for path in (f"/api/models/expunge/{edit}", f"/expunge/{edit}/resolve/main/{TEXT_ENCODER}"):
        assert httpx.get(str(url) + path).status_code == 401


def test_attestation_covers_every_file_that_is_served(tmp_path: Path) -> None:
    """A file that is served without a signed digest could be altered unnoticed."""
    folder = shutil.copytree(emoji.WEIGHTS, tmp_path / "model")
    others = ["tokenizer/merges.txt", "tokenizer/spiece.model", "LICENSE.md", "vae/x.json"]
    for name in (*others, "run.py", ".hidden/x.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
    served = {file.name: file.sha256 for file in list_base_files(files_below(folder), DigestCache())}
    assert {"model_index.json", *others} < served.keys()
    assert not {"run.py", ".hidden/x.json"} & served.keys()
    assert served.items() <= model_digests(open_checkpoint(folder)).items()
