"""The Hugging Face Hub's JSON: repositories, trees, references and commits, as `huggingface_hub` reads them."""

from collections.abc import Iterable, Iterator
from typing import Any

from service.api.hub_history import Commit
from service.api.hub_repository import MAIN, NAMESPACE, HubFile
from service.core.caller import Caller
from service.store.registered_files import commit_hash

POINTER_BYTES = 130
"""Size of a Git LFS pointer; the Hub states it for each file."""

Json = dict[str, Any]


def identity(caller: Caller) -> Json:
    """Return what `whoami` and `hf auth login` need to know about a key."""
    token = {"displayName": f"{NAMESPACE}-{caller.key_id}", "role": "read"}
    return {
        "type": "user",
        "id": caller.key_id,
        "name": caller.tenant,
        "fullname": caller.tenant,
        "isPro": False,
        "orgs": [],
        "auth": {"type": "access_token", "accessToken": token},
    }


def repository_info(commit: Commit, blobs: bool) -> Json:
    """Return a repository at a commit, with the size and digest of each file if `blobs` is set."""
    return {
        "id": commit.repository.id,
        "modelId": commit.repository.id,
        "author": NAMESPACE,
        "sha": commit.id,
        "lastModified": commit.date_text,
        "private": True,
        "gated": False,
        "disabled": False,
        "tags": ["diffusers", "expunge"],
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "siblings": [
            {"rfilename": file.name} | (_sibling_metadata(file) if blobs else {})
            for file in commit.repository.files.values()
        ],
    }


def _sibling_metadata(file: HubFile) -> Json:
    lfs = {"size": file.size, "sha256": file.sha256, "pointerSize": POINTER_BYTES}
    return {"size": file.size, "blobId": file.sha256[:40], "lfs": lfs}


def tree_entries(commit: Commit, folder: str, recursive: bool, expand: bool) -> list[Json]:
    """Return the entries of a folder: its files and folders, and those below them if `recursive` is set.

    Raises:
        NotFound: There is no such folder.
    """
    prefix = f"{folder.strip('/')}/" if folder.strip("/") else ""
    below = [name.removeprefix(prefix) for name in commit.repository.files if name.startswith(prefix)]
    if not below:
        commit.repository.file(folder)  # raises unless it is a file
        return []
    paths = {path for name in below for path in _ancestors(name)} | set(below)
    shown = sorted(path for path in paths if recursive or "/" not in path)
    return list(path_entries(commit, [prefix + path for path in shown], expand))


def _ancestors(name: str) -> Iterator[str]:
    parts = name.split("/")
    yield from ("/".join(parts[:count]) for count in range(1, len(parts)))


def path_entries(commit: Commit, paths: Iterable[str], expand: bool) -> Iterator[Json]:
    """Yield the entry of each file or folder; paths that do not exist are left out, as the Hub does."""
    files = commit.repository.files
    last = {"id": commit.id, "title": commit.title, "date": commit.date_text}
    for path in paths:
        below = {name: file.sha256 for name, file in files.items() if name.startswith(f"{path}/")}
        if path in files or below:
            entry = _file_entry(files[path]) if path in files else _folder_entry(path, below)
            yield entry | ({"lastCommit": last} if expand else {})


def _file_entry(file: HubFile) -> Json:
    lfs = {"oid": file.sha256, "size": file.size, "pointerSize": POINTER_BYTES}
    return {"type": "file", "path": file.name, "size": file.size, "oid": file.sha256[:40], "lfs": lfs}


def _folder_entry(path: str, digests: dict[str, str]) -> Json:
    return {"type": "directory", "path": path, "size": 0, "oid": commit_hash(digests)}


def references(commits: list[Commit]) -> Json:
    """Return `main`, and the ledger's revisions as tags."""
    tags = [commit for commit in commits if commit.number is not None]
    return {
        "branches": [_reference("heads", MAIN, commits[0])],
        "tags": [_reference("tags", str(commit.number), commit) for commit in tags],
        "converts": [],
        "pullRequests": [],
    }


def _reference(kind: str, name: str, commit: Commit) -> Json:
    return {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit.id}


def commit_info(commit: Commit) -> Json:
    """Return a commit. Its title names the edit, never a concept."""
    return {
        "id": commit.id,
        "title": commit.title,
        "message": "",
        "authors": [{"user": NAMESPACE}],
        "date": commit.date_text,
        "formatted": {"title": commit.title, "message": ""},
    }
