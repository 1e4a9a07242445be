"""The published JSON Schemas are those of the code, and what is published keeps to them."""

import json
from pathlib import Path

import jsonschema
import pytest

from api_schemas.json_schemas import PUBLISHED, schema_text
from api_schemas.report import AuditReport

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"


@pytest.mark.parametrize("name", PUBLISHED)
def test_schemas_are_current(name: str) -> None:
    """If not: `python -m api_schemas.json_schemas docs/schemas`."""
    assert (FOLDER / f"{name}.schema.json").read_text() == schema_text(PUBLISHED[name])


def test_every_schema_file_belongs_to_a_model() -> None:
    assert {path.name.removesuffix(".schema.json") for path in FOLDER.iterdir()} == PUBLISHED.keys()


@pytest.mark.parametrize("name", PUBLISHED)
def test_schemas_are_valid_json_schemas(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(schema_text(PUBLISHED[name])))


def test_every_field_of_a_report_is_described_or_plain() -> None:
    described = [name for name, field in AuditReport.model_fields.items() if field.description]
    assert len(described) >= 10
