"""The typed client: request a removal, follow its progress, download the published files.

    with Client("http://127.0.0.1:8484", api_key) as client:
        edit = client.edits.create(EditRequest(removals=[Removal(concept="fox", replacement="dog face")]))
        edit = edit.wait(on_event=print)
        paths = edit.download(Path("fox-free"))

`AsyncClient` has the same methods as coroutines. Depends on pydantic and httpx only.
"""

from api_schemas.client.async_client import AsyncClient, AsyncEditJob
from api_schemas.client.async_models import AsyncCalibrationJob
from api_schemas.client.sync_client import Client, EditJob
from api_schemas.client.sync_models import CalibrationJob
from api_schemas.client.transport import DEFAULT_URL

__all__ = ["DEFAULT_URL", "AsyncCalibrationJob", "AsyncClient", "AsyncEditJob", "CalibrationJob", "Client", "EditJob"]
