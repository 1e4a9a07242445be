"""Responses with one image of a published ZIP file, by its range of bytes."""

from collections.abc import Iterator
from dataclasses import dataclass

from fastapi import Request, Response

from api_schemas.packed_images import PackedImage
from service.api.file_response import file_response
from service.core.app_state import AppState
from service.store.orm import Artifact


@dataclass(frozen=True)
class PackedFile:
    """An image as a file."""

    size: int
    sha256: str
    media_type: str


def packed_image_response(
    app_state: AppState, archive: Artifact, image: PackedImage, media_type: str, request: Request
) -> Response:
    """Return the response for an image of an archive."""

    def content(start: int, end: int) -> Iterator[bytes]:
        return app_state.blobs.open(archive.sha256, image.offset + start, image.offset + end)

    return file_response(content, PackedFile(image.size, image.sha256, media_type), request)
