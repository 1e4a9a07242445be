"""Send and parse the models of datamodel-code-generator with httpx: `python use_datamodel_code_generator.py URL KEY`."""

import json
import sys

import httpx
from generated import AuditReport, Batch, BatchRequest, Edit, EditRequest, Plan, Problem, Removal

url, key = sys.argv[1:]
client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60, trust_env=False)


def post(path: str, body: EditRequest | BatchRequest, **headers: str) -> bytes:
    sent = body.model_dump_json(exclude_unset=True)
    return client.post(path, content=sent, headers={"Content-Type": "application/json", **headers}).content


def get(path: str) -> bytes:
    return client.get(path).content


request = EditRequest(model="tiny", removals=[Removal(concept="fox")])
edit = Edit.model_validate_json(post("/v1/edits", request, Prefer="wait=30"))
batch = post("/v1/batches", BatchRequest(model="tiny", removals=[{"concept": "fox"}]))
stranger = httpx.get(f"{url}/v1/edits/{edit.id}", trust_env=False)
found = {
    "edit": edit.status.value,
    "read": Edit.model_validate_json(get(f"/v1/edits/{edit.id}")).request.removals[0].concept,
    "plan": Plan.model_validate_json(post("/v1/edits:validate", request)).object,
    "batch": Batch.model_validate_json(batch).counts.accepted,
    "report": AuditReport.model_validate_json(get(f"/v1/edits/{edit.id}/report.json")).verdict.value,
    "problem": Problem.model_validate_json(stranger.content).code,
}
sys.stdout.write(json.dumps(found))
