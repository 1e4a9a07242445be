"""Write JSON Schemas of the published files: ``python -m api_schemas.json_schemas docs/schemas``."""

import json
import sys
from pathlib import Path

from pydantic import BaseModel

from api_schemas.attestation import ConceptRemoval, PublicKeys, Verification
from api_schemas.deployment import Deployment
from api_schemas.report import AuditReport

PUBLISHED: dict[str, type[BaseModel]] = {
    "report": AuditReport,
    "concept-removal-v1": ConceptRemoval,
    "public-keys": PublicKeys,
    "verification": Verification,
    "deployment": Deployment,
}


def schema_text(model: type[BaseModel]) -> str:
    """Return the JSON Schema (draft 2020-12) of the model's serialized form."""
    schema = model.model_json_schema(mode="serialization", by_alias=True)
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=1) + "\n"


def write_schemas(folder: Path) -> list[Path]:
    """Write one file per model and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, model in PUBLISHED.items():
        paths.append(folder / f"{name}.schema.json")
        paths[-1].write_text(schema_text(model))
    return paths


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
