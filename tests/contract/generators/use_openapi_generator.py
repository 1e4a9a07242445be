"""Use the client of OpenAPI Generator: `python use_openapi_generator.py URL KEY`."""

import json
import sys

from openapi_client import (
    ApiClient,
    ArtifactsApi,
    BatchesApi,
    BatchRequest,
    Configuration,
    EditRequest,
    EditsApi,
    Removal,
)
from openapi_client.exceptions import ApiException

url, key = sys.argv[1:]
client = ApiClient(Configuration(host=url, access_token=key))
edits = EditsApi(client)
request = EditRequest(model="tiny", removals=[Removal(concept="fox")])
edit = edits.edits_create(request, prefer="wait=30")
batch = BatchesApi(client).batches_create(BatchRequest(model="tiny", removals=[{"concept": "fox"}]))
try:
    EditsApi(ApiClient(Configuration(host=url, access_token="nobody"))).edits_read(edit.id)
except ApiException as error:
    problem = json.loads(error.body)["code"]
found = {
    "edit": edit.status,
    "read": edits.edits_read(edit.id).request.removals[0].concept,
    "plan": edits.edits_validate(request).object,
    "batch": batch.counts.accepted,
    "report": ArtifactsApi(client).artifacts_read_report_as(edit.id, "json").verdict,
    "problem": problem,
}
sys.stdout.write(json.dumps(found))
