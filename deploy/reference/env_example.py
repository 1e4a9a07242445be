"""`deploy/.env.example`: every setting with its description and default, from the settings classes."""

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from service.launcher.settings import LauncherSettings
from service.settings import ServiceSettings
from service.store.settings import StoreSettings
from worker.settings import WorkerSettings

HEAD = """\
# Every setting with its default. Copy this file to `.env` (compose) or `/etc/expunge/expunge.env` (systemd), and uncomment what
# you change. `make reference` generates this file from the settings classes.
"""
SECTIONS = {
    "API, dispatcher and worker": StoreSettings,
    "API and dispatcher": ServiceSettings,
    "worker": WorkerSettings,
    "`expunge up`": LauncherSettings,
}
TAIL = """\
# --- The bucket of EXPUNGE_BLOBS_URL
#AWS_ACCESS_KEY_ID=
#AWS_SECRET_ACCESS_KEY=
#AWS_REGION=
#AWS_ENDPOINT_URL=
#AWS_ALLOW_HTTP=false

# --- compose.yaml only
# Passwords of the PostgreSQL database and the bucket: long and random, for example from `openssl rand -hex 24`.
POSTGRES_PASSWORD=
S3_SECRET=
# Set EXPUNGE_SECRETS_KEY above as well; `openssl rand -base64 32 | tr +/ -_` also generates one.
# Folder of base models on the host.
#MODELS=./models
"""
LINE_CHARACTERS = 126


def page() -> str:
    """Return the contents of the file."""
    sections = [f"# --- {title}\n{''.join(_settings(settings))}" for title, settings in SECTIONS.items()]
    return "\n".join([HEAD, *sections, TAIL])


def _settings(settings: type[StoreSettings]) -> Iterator[str]:
    """Yield the settings of a class that its base class does not have."""
    inherited = {} if settings is StoreSettings else StoreSettings.model_fields
    for name, field in settings.model_fields.items():
        if name not in inherited:
            comment = textwrap.fill(
                field.description or "", LINE_CHARACTERS, initial_indent="# ", subsequent_indent="# "
            )
            yield f"{comment}\n#EXPUNGE_{name.upper()}={_format_default(field.default)}\n"


def _format_default(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, (str, Path)) else json.dumps(value)
