"""Read-only Hugging Face Hub routes: `from_pretrained` and `snapshot_download` work with HF_ENDPOINT=<service>/hf."""

from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from service.api import hub_resources
from service.api.artifact_files import presigned_redirect
from service.api.auth import ReadsArtifacts
from service.api.dependencies import AppStateDep
from service.api.file_response import ANY_CONTENT, download_responses, file_response
from service.api.hub_history import list_commits, open_commit
from service.api.hub_repository import MAIN, NAMESPACE
from service.api.routes.artifacts import FileName
from service.api.strict_json import parse_json

router = APIRouter(prefix="/hf", tags=["hub"])

Namespace = Annotated[str, Path(description=f"Always `{NAMESPACE}`.", examples=[NAMESPACE])]
Repo = Annotated[str, Path(description="The id of an edit, or of a model: the model with your ledger applied.")]
Revision = Annotated[str, Path(description="`main`, a commit id, or the number of a ledger revision.", examples=[MAIN])]
Blobs = Annotated[bool, Query(description="Add the size and digest of each file.")]
Recursive = Annotated[bool, Query(description="List the files of subfolders too.")]
Expand = Annotated[bool, Query(description="Add the commit to each entry.")]
FolderName = Annotated[str, Path(description="Path of a folder.", examples=["text_encoder"])]

PATHS_SCHEMA = {
    "type": "object",
    "required": ["paths"],
    "properties": {
        "paths": {"type": "array", "items": {"type": "string"}, "maxItems": 1000},
        "expand": {"type": "boolean"},
    },
}
PATHS_EXAMPLE = {"paths": ["text_encoder", "text_encoder/model.safetensors"]}
PATHS_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": PATHS_SCHEMA, "example": PATHS_EXAMPLE}},
    }
}


class PathsRequest(BaseModel):
    """The body of a paths-info request: JSON, or a form as `huggingface_hub` sends it."""

    paths: list[str] = Field(max_length=1000)
    expand: bool = False


@router.get("/api/whoami-v2", summary="Describe the API key")
def whoami(caller: ReadsArtifacts) -> dict[str, Any]:
    """Return the tenant and the id of the key, for `whoami` and `hf auth login`."""
    return hub_resources.identity(caller)


@router.get("/api/models/{namespace}/{repo}", summary="Describe a repository")
def describe(
    namespace: Namespace, repo: Repo, app_state: AppStateDep, caller: ReadsArtifacts, blobs: Blobs = False
) -> dict[str, Any]:
    """Return the commit and the files of `main`."""
    return hub_resources.repository_info(open_commit(app_state, caller, namespace, repo, MAIN), blobs)


@router.get("/api/models/{namespace}/{repo}/revision/{revision}", summary="Describe a repository's revision")
def describe_revision(
    namespace: Namespace,
    repo: Repo,
    revision: Revision,
    app_state: AppStateDep,
    caller: ReadsArtifacts,
    blobs: Blobs = False,
) -> dict[str, Any]:
    """Return the commit and the files of a revision."""
    return hub_resources.repository_info(open_commit(app_state, caller, namespace, repo, revision), blobs)


@router.get("/api/models/{namespace}/{repo}/tree/{revision}", summary="List a repository's files")
def tree(
    namespace: Namespace,
    repo: Repo,
    revision: Revision,
    app_state: AppStateDep,
    caller: ReadsArtifacts,
    recursive: Recursive = False,
    expand: Expand = False,
) -> list[dict[str, Any]]:
    """Return the files with their sizes and digests, and the folders."""
    return hub_resources.tree_entries(open_commit(app_state, caller, namespace, repo, revision), "", recursive, expand)


@router.get("/api/models/{namespace}/{repo}/tree/{revision}/{folder:path}", summary="List a folder's files")
def subtree(
    namespace: Namespace,
    repo: Repo,
    revision: Revision,
    folder: FolderName,
    app_state: AppStateDep,
    caller: ReadsArtifacts,
    recursive: Recursive = False,
    expand: Expand = False,
) -> list[dict[str, Any]]:
    """Return the files and folders of a folder."""
    commit = open_commit(app_state, caller, namespace, repo, revision)
    return hub_resources.tree_entries(commit, folder, recursive, expand)


@router.post(
    "/api/models/{namespace}/{repo}/paths-info/{revision}",
    summary="Describe files and folders",
    openapi_extra=PATHS_BODY,
)
async def paths_info(
    namespace: Namespace,
    repo: Repo,
    revision: Revision,
    request: Request,
    app_state: AppStateDep,
    caller: ReadsArtifacts,
) -> list[dict[str, Any]]:
    """Return the entries of the given paths. Paths that do not exist are left out."""
    body = _parse_paths(request.headers.get("content-type", ""), await request.body())
    commit = await run_in_threadpool(open_commit, app_state, caller, namespace, repo, revision)
    return list(hub_resources.path_entries(commit, body.paths, body.expand))


@router.get("/api/models/{namespace}/{repo}/refs", summary="List a repository's references")
def refs(namespace: Namespace, repo: Repo, app_state: AppStateDep, caller: ReadsArtifacts) -> dict[str, Any]:
    """Return `main` and, for a model, the revisions of your ledger as tags."""
    return hub_resources.references(list(list_commits(app_state, caller, namespace, repo, MAIN)))


@router.get("/api/models/{namespace}/{repo}/commits/{revision}", summary="List a repository's commits")
def commits(
    namespace: Namespace, repo: Repo, revision: Revision, app_state: AppStateDep, caller: ReadsArtifacts
) -> list[dict[str, Any]]:
    """Return the commits up to a revision, newest first."""
    return [hub_resources.commit_info(one) for one in list_commits(app_state, caller, namespace, repo, revision)]


@router.head("/{namespace}/{repo}/resolve/{revision}/{name:path}", include_in_schema=False)
@router.get(
    "/{namespace}/{repo}/resolve/{revision}/{name:path}",
    summary="Download a repository's file",
    response_class=Response,
    responses=download_responses(ANY_CONTENT, redirected=True),
)
def resolve(
    namespace: Namespace,
    repo: Repo,
    revision: Revision,
    name: FileName,
    request: Request,
    app_state: AppStateDep,
    caller: ReadsArtifacts,
) -> Response:
    """Return the bytes. Supports `Range`; the ETag is the SHA-256 digest."""
    commit = open_commit(app_state, caller, namespace, repo, revision)
    file = commit.repository.file(name)
    response = presigned_redirect(app_state, file.blob, request) or file_response(file.content, file, request)
    response.headers["X-Repo-Commit"] = commit.id
    return response


def _parse_paths(content_type: str, content: bytes) -> PathsRequest:
    """Parse a paths-info body. Raises `MalformedJson`, `RequestValidationError`."""
    try:
        if content_type.partition(";")[0].strip().lower() == "application/json":
            sent = parse_json(content)
        else:
            form = parse_qs(content.decode(errors="replace"), keep_blank_values=True)
            sent = {"paths": form.get("paths"), "expand": form.get("expand", ["false"])[-1]}
        return PathsRequest.model_validate(sent)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
