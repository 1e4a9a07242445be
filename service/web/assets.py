"""Static files. Their paths contain their digests, so browsers may cache them for ever."""

import base64
import gzip
import hashlib
import mimetypes
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

STATIC_FOLDER = Path(__file__).parent / "static"
STATIC_ROOT = "/static/"
_MANIFEST = "vendored.toml"
_PATH_DIGITS = 16
"""Hexadecimal digits of the digest in a path."""


@dataclass(frozen=True)
class Asset:
    """A static file. `integrity` is the value of the attribute in HTML."""

    name: str
    content: bytes
    compressed: bytes
    """The content with gzip. It is the same for everybody, so its length reveals nothing."""
    media_type: str
    url: str
    integrity: str


@cache
def assets() -> dict[str, Asset]:
    """Return all static files by URL path."""
    found = map(_load, sorted(STATIC_FOLDER.iterdir()))
    return {asset.url: asset for asset in found if asset.name != _MANIFEST}


@cache
def asset(name: str) -> Asset:
    """Return the static file with this name. Raises `KeyError`."""
    return {asset.name: asset for asset in assets().values()}[name]


def _load(path: Path) -> Asset:
    content = path.read_bytes()
    digest = hashlib.sha256(content)
    integrity = f"sha256-{base64.b64encode(digest.digest()).decode()}"
    url = f"{STATIC_ROOT}{digest.hexdigest()[:_PATH_DIGITS]}/{path.name}"
    media_type = re.sub(r"^(text/.*)", r"\1; charset=utf-8", mimetypes.guess_type(path.name)[0] or "")
    return Asset(path.name, content, gzip.compress(content, mtime=0), media_type, url, integrity)
