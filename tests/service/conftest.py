"""Fixtures: the API in this process on an empty store, without broker, worker and sockets."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.api.app import create_app
from service.core.app_state import AppState
from service.settings import ServiceSettings
from service.store import api_keys
from service.store.database import Database
from tests.fakes.clock import FakeClock
from tests.fakes.model import write_model


@pytest.fixture
def app_state(tmp_path: Path, database: Database, clock: FakeClock) -> AppState:
    models = {"tiny": write_model(tmp_path / "models" / "tiny")}
    settings = ServiceSettings(
        data_dir=tmp_path,
        broker_url="memory://",
        models=models,
        model_roots=[tmp_path / "models"],
        max_body_bytes=4096,
        max_batch_bytes=300_000,
        rate_limit="",
        stream_poll_seconds=0.01,
    )
    return AppState.from_settings(settings, clock=clock)


@pytest.fixture
def api_key(database: Database, clock: FakeClock) -> str:
    key = api_keys.generate_api_key()
    with database.write() as session:
        api_keys.register(session, key, now=clock())
    return key


@pytest.fixture
def client(app_state: AppState, api_key: str) -> Iterator[TestClient]:
    headers = {"Authorization": f"Bearer {api_key}"}
    with TestClient(create_app(app_state), headers=headers, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Restore the logging configuration after the test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level


@pytest.fixture
def deep_model(app_state: AppState) -> str:
    """The id of a model whose text encoder has six layers."""
    folder = app_state.registry.get("tiny").path
    (folder / "model_index.json").write_text(json.dumps({"text_encoder": ["transformers", "CLIPTextModel"]}))
    (folder / "text_encoder" / "config.json").write_text(json.dumps({"num_hidden_layers": 6}))
    return "tiny"
