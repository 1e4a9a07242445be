"""Use the client of openapi-python-client: `python use_openapi_python_client.py URL KEY`."""

import json
import sys

from generated import AuthenticatedClient
from generated.api.artifacts import artifacts_read_report_as
from generated.api.batches import batches_create
from generated.api.edits import edits_create, edits_read, edits_validate
from generated.models import BatchRequest, BatchRequestRemovalsItem, EditRequest, Removal

url, key = sys.argv[1:]
client = AuthenticatedClient(url, key)
request = EditRequest(model="tiny", removals=[Removal("fox")])
edit = edits_create.sync(client=client, body=request, prefer="wait=30")
batch = BatchRequest(model="tiny", removals=[BatchRequestRemovalsItem.from_dict({"concept": "fox"})])
stranger = AuthenticatedClient(url, "nobody")
found = {
    "edit": edit.status,
    "read": edits_read.sync(edit.id, client=client).request.removals[0].concept,
    "plan": edits_validate.sync(client=client, body=request).object_,
    "batch": batches_create.sync(client=client, body=batch).counts.accepted,
    "report": artifacts_read_report_as.sync(edit.id, "json", client=client).verdict,
    "problem": edits_read.sync(edit.id, client=stranger).code,
}
sys.stdout.write(json.dumps(found))
