"""Examples of the Hub's resources, which have no schema of ours."""

from typing import Any

from service.api.example_values import COMMIT, EDIT_ID, KEY_ID, SHA256

REPOSITORY = {
    "id": f"expunge/{EDIT_ID}",
    "modelId": f"expunge/{EDIT_ID}",
    "author": "expunge",
    "sha": COMMIT,
    "lastModified": "2026-05-01T12:00:00.000000Z",
    "private": True,
    "gated": False,
    "disabled": False,
    "tags": ["diffusers", "expunge"],
    "library_name": "diffusers",
    "pipeline_tag": "text-to-image",
    "siblings": [{"rfilename": "model_index.json"}, {"rfilename": "text_encoder/model.safetensors"}],
}
TREE = [
    {
        "type": "file",
        "path": "text_encoder/model.safetensors",
        "size": 7_340_032,
        "oid": COMMIT,
        "lfs": {"oid": SHA256, "size": 7_340_032, "pointerSize": 130},
    }
]
FOLDER = {"type": "directory", "path": "text_encoder", "size": 0, "oid": COMMIT}
REFERENCES = {
    "branches": [{"name": "main", "ref": "refs/heads/main", "targetCommit": COMMIT}],
    "tags": [{"name": "3", "ref": "refs/tags/3", "targetCommit": COMMIT}],
    "converts": [],
    "pullRequests": [],
}
COMMITS = [
    {
        "id": COMMIT,
        "title": f"Edit {EDIT_ID}",
        "message": "",
        "authors": [{"user": "expunge"}],
        "date": "2026-05-01T12:00:00.000000Z",
        "formatted": {"title": f"Edit {EDIT_ID}", "message": ""},
    }
]
IDENTITY = {
    "type": "user",
    "id": KEY_ID,
    "name": "desk",
    "fullname": "desk",
    "isPro": False,
    "orgs": [],
    "auth": {"type": "access_token", "accessToken": {"displayName": "expunge-da19aa4f48ec", "role": "read"}},
}

HUB_EXAMPLES: dict[str, Any] = {
    "/hf/{namespace}/{repo}/resolve/{revision}/{name}": {"architectures": ["CLIPTextModel"], "hidden_size": 768},
    "/hf/api/models/{namespace}/{repo}": REPOSITORY,
    "/hf/api/models/{namespace}/{repo}/revision/{revision}": REPOSITORY,
    "/hf/api/models/{namespace}/{repo}/tree/{revision}": [FOLDER],
    "/hf/api/models/{namespace}/{repo}/tree/{revision}/{folder}": TREE,
    "/hf/api/models/{namespace}/{repo}/paths-info/{revision}": [FOLDER, *TREE],
    "/hf/api/models/{namespace}/{repo}/refs": REFERENCES,
    "/hf/api/models/{namespace}/{repo}/commits/{revision}": COMMITS,
    "/hf/api/whoami-v2": IDENTITY,
}
"""By path."""
