"""Check the manifest of a service: no signature covers it, because it lists the signed files with their digests."""

from collections.abc import Iterator

from pydantic import BaseModel, ValidationError

from api_schemas.attestation import Finding
from editor.io.digests import file_digest
from editor.publishing.attestation.verification_case import VerificationCase, ok_or_failed
from editor.publishing.filenames import ATTESTATION, MANIFEST, PRIVATE_REPORT, PRIVATE_REPORT_HTML, REPORT

UNSIGNED_FILES = frozenset({ATTESTATION, REPORT, PRIVATE_REPORT, PRIVATE_REPORT_HTML, MANIFEST})
"""Files that no signature covers: other checks compare them with what is signed."""


class ListedFile(BaseModel):
    """A file of the manifest."""

    name: str
    sha256: str


class Manifest(BaseModel):
    """The files that a service published. Other fields are not compared."""

    files: list[ListedFile]


def check_manifest(case: VerificationCase) -> Iterator[Finding]:
    """Check that the manifest, if present, lists the signed files, the report and the attestation as they are."""
    path = case.folder / MANIFEST
    if not path.is_file():
        return
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError:
        yield Finding(check="file", outcome="failed", about=MANIFEST, detail="cannot be read")
        return
    digests = case.digests | present_digests(case)
    ignored = UNSIGNED_FILES - digests.keys()
    differing = [one.name for one in manifest.files if one.name not in ignored and digests.get(one.name) != one.sha256]
    detail = f"differs in {', '.join(differing)}" if differing else "lists the files as they are"
    yield Finding(check="file", outcome=ok_or_failed(not differing), about=MANIFEST, detail=detail)


def present_digests(case: VerificationCase) -> dict[str, str]:
    """Return the digests of the unsigned files that are present."""
    return {name: file_digest(case.folder / name) for name in UNSIGNED_FILES if (case.folder / name).is_file()}
