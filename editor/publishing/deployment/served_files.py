"""Compare the files of a stored pipeline with those that the report lists: the edited ones, and the base model's."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from api_schemas.deployment import FileFound
from api_schemas.report import AuditReport
from editor.checkpoints import model_files
from editor.io.digests import file_digest


def check_served_files(pipeline: Path, report: AuditReport) -> list[FileFound]:
    """Identify each file of a pipeline, a folder or a single file, by its digest."""
    expected = expected_digests(report)
    if pipeline.is_file():
        return [check_single_file(pipeline, expected)]
    return [check_served_file(name, path, expected) for name, path in model_files(pipeline).items()]


def check_single_file(path: Path, expected: Mapping[str, str]) -> FileFound:
    """Identify a single-file checkpoint, which may have another name than the published one."""
    is_listed = file_digest(path) in expected.values()
    differing = "differs" if path.name in expected else "unknown"
    return FileFound(name=path.name, identity="listed" if is_listed else differing)


def check_served_file(name: str, path: Path, expected: Mapping[str, str]) -> FileFound:
    """Identify one file of a folder."""
    if name not in expected:
        return FileFound(name=name, identity="unknown")
    return FileFound(name=name, identity="listed" if file_digest(path) == expected[name] else "differs")


def expected_digests(report: AuditReport) -> dict[str, str]:
    """Return the sha256 of each file of the edited pipeline, as far as the report lists it."""
    published = {file.name: file.sha256 for file in report.artifacts if file.kind in ("weights", "config")}
    unpublished = set(edited_weights(report)) - published.keys()
    base = {name: sha256 for name, sha256 in report.model.files.items() if name not in unpublished}
    documents = {name for name in base if name.endswith(".md")}
    return {name: sha256 for name, sha256 in (base | published).items() if name not in documents}


def edited_weights(report: AuditReport) -> Iterator[str]:
    """Yield the base model's weights that the edit may change: those in the folders of edited text encoders."""
    edited = {tensor.component for tensor in report.tensors}
    for name in report.model.files:
        folder = name.rpartition("/")[0]
        if name.endswith(".safetensors") and (folder in edited or not folder):
            yield name
