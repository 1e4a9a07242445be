"""A plain FastAPI and Celery app with a Redis result backend, the baseline of the load test.

It is not slowed down, and nothing is durable: a job is a message and its state a key that expires. It has no API keys,
validation or history. Its worker does what the fake editor does: four phases and one file.

    uvicorn tests.load.template:api        celery --app tests.load.template:queue worker --concurrency 1
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from celery import Celery
from celery.result import AsyncResult
from fastapi import FastAPI
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel

BROKER = os.environ.get("TEMPLATE_BROKER", "redis://127.0.0.1:6379/0")
FOLDER = Path(os.environ.get("TEMPLATE_FOLDER", "/tmp"))
PHASES = ("trace", "edit", "validate", "publish")

queue = Celery("template", broker=BROKER, backend=BROKER)
queue.conf.update(worker_prefetch_multiplier=1, result_expires=3600)
api = FastAPI()


class Removal(BaseModel):
    """The validation that such a service has."""

    concept: str


class Request(BaseModel):
    """The request body."""

    model: str
    removals: list[Removal]


@queue.task(bind=True, name="template.run")
def run(task: Any, request: dict[str, Any], posted: float) -> dict[str, float]:
    """Run a job."""
    started = time.time()
    for phase in PHASES:
        task.update_state(state="PROGRESS", meta={"phase": phase})
    (FOLDER / f"{task.request.id}.bin").write_bytes(bytes(range(256)) * 16)
    return {"delay": started - posted}


@api.post("/jobs", status_code=202)
def create(body: Request) -> dict[str, str]:
    """Queue a job."""
    return {"id": run.delay(body.model_dump(), time.time()).id}


@api.get("/jobs/{job_id}")
def read(job_id: str) -> dict[str, Any]:
    """Return the state of a job."""
    found = AsyncResult(job_id, app=queue)
    return {"id": job_id, "status": found.status, "result": found.result if found.successful() else None}


@api.get("/jobs/{job_id}/stream")
async def stream(job_id: str) -> StreamingResponse:
    """Stream the state of a job as it changes."""

    async def tell() -> AsyncIterator[str]:
        last = ""
        while last not in ("SUCCESS", "FAILURE"):
            status = await asyncio.to_thread(lambda: AsyncResult(job_id, app=queue).status)
            if status != last:
                last = status
                yield f"data: {status}\n\n"
            await asyncio.sleep(0.5)

    return StreamingResponse(tell(), media_type="text/event-stream")


@api.get("/jobs/{job_id}/file")
def download(job_id: str) -> FileResponse:
    """Return the file of a job."""
    return FileResponse(FOLDER / f"{job_id}.bin")
