"""What an operator does at the database itself: `expunge api-keys`, `expunge models`, `expunge audit`.

There are no routes for this: who may run a command on the machine needs no key.
"""

import json
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from api_schemas.access import DEFAULT_TENANT, SCOPES, TENANT, ApiKeyRecord
from api_schemas.audit import AuditLine
from api_schemas.cli.options import JsonOutput
from api_schemas.errors import UsageError
from service.store import api_keys as keys
from service.store import audit as audit_log
from service.store import base_model_registration
from service.store.clock import utc_now
from service.store.database import Database
from service.store.settings import DEFAULT_DATA_DIR, StoreSettings

OPERATOR = "operator"
"""Who the audit log says it was."""

api_keys = typer.Typer(help="API keys: who may do what, and for whom.", no_args_is_help=True, add_completion=False)
models = typer.Typer(help="The base models that this service knows.", no_args_is_help=True, add_completion=False)
audit = typer.Typer(help="The audit log: who did what.", no_args_is_help=True, add_completion=False)

DataDir = Annotated[Path, typer.Option(envvar="EXPUNGE_DATA_DIR", help="The data folder.")]


@api_keys.command("create")
def create_key(
    tenant: Annotated[str, typer.Option(help="Whose edits, files and ledgers it opens.")] = DEFAULT_TENANT,
    scope: Annotated[list[str], typer.Option(help="What it may do; repeat it. Left out: everything.")] = [],  # noqa: B006
    name: Annotated[str, typer.Option(help="Your own note.")] = "",
    days: Annotated[float, typer.Option(min=0, help="How long it holds. 0: until it is revoked.")] = 0,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json_output: JsonOutput = False,
) -> None:
    """Make a key, and print it. It cannot be printed again: only its hash is kept."""
    _check_tenant(tenant)
    scopes, now, key = _scopes(scope), utc_now(), keys.new_key()
    expires_at = now + timedelta(days=days) if days else None
    with _database(data_dir).write() as session:
        wishes: dict[str, Any] = {"tenant": tenant, "name": name, "scopes": scopes, "expires_at": expires_at}
        key_id = keys.register(session, key, now=now, **wishes)
        audit_log.record(session, tenant, OPERATOR, "api_key.create", key_id, now=now, scopes=scopes)
    typer.echo(json.dumps({"id": key_id, "key": key}) if json_output else key)


@api_keys.command("list")
def list_keys(data_dir: DataDir = DEFAULT_DATA_DIR, json_output: JsonOutput = False) -> None:
    """All keys, of all tenants, never the keys themselves."""
    with _database(data_dir).read() as session:
        found = [ApiKeyRecord.model_validate(key, from_attributes=True) for key in keys.every(session)]
    if json_output:
        return _print_json(found)
    table = Table("id", "tenant", "name", "scopes", "holds until", "last used", box=None, pad_edge=False)
    for key in found:
        until = key.revoked_at or key.expires_at
        scopes = "all" if set(key.scopes) == set(SCOPES) else " ".join(key.scopes)
        table.add_row(
            key.id,
            key.tenant,
            key.name,
            scopes,
            *(f"{at:%Y-%m-%d %H:%M}" if at else "" for at in (until, key.last_used_at)),
        )
    Console(highlight=False).print(table)


@api_keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="As `expunge api-keys list` tells it.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Let a key in no more, from its next request on."""
    with _database(data_dir).write() as session:
        found = keys.revoke(session, key_id, now=utc_now())
        if found is None:
            raise UsageError(f"there is no key {key_id}.", field="key_id", remedy="See `expunge api-keys list`.")
        audit_log.record(session, found.tenant, OPERATOR, "api_key.revoke", key_id, now=utc_now())
    typer.echo(f"{key_id} is revoked")


@models.command("add")
def add_model(
    path: Annotated[Path, typer.Argument(help="A diffusers folder: safetensors, no code.")],
    name: Annotated[str, typer.Option("--id", help="What requests call it. Left out: the folder's name.")] = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json_output: JsonOutput = False,
) -> None:
    """Make a base model known. Each file is hashed once, and again only when it has changed."""
    folder = path.expanduser().absolute()
    database, total = _database(data_dir), sum(file.stat().st_size for file in base_model_registration.files_of(folder))
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=json_output, transient=True) as bar:
        task = bar.add_task("hashing", total=total)
        done = base_model_registration.register(
            database, name or folder.name, folder, utc_now(), lambda size: bar.advance(task, size)
        )
    with database.write() as session:
        counted = {"files": done.files, "hashed": done.hashed}
        audit_log.record(session, DEFAULT_TENANT, OPERATOR, "model.add", done.model, now=utc_now(), **counted)
    typer.echo(json.dumps(vars(done)) if json_output else f"{done.model}: {done.files} files, {done.hashed} hashed")


@models.command("list")
def list_models(data_dir: DataDir = DEFAULT_DATA_DIR, json_output: JsonOutput = False) -> None:
    """The base models that were added, and those that settings name."""
    found = StoreSettings(data_dir=data_dir).registry().all()
    if json_output:
        typer.echo(json.dumps([{"id": model.id, "folder": str(model.folder)} for model in found]))
    else:
        for model in found:
            typer.echo(f"{model.id:<24} {model.folder}")


@models.command("remove")
def remove_model(
    model_id: Annotated[str, typer.Argument(help="Its id.")], data_dir: DataDir = DEFAULT_DATA_DIR
) -> None:
    """Make a base model unknown. Its files stay, and so does what was published of it, but for full weights."""
    with _database(data_dir).write() as session:
        if not base_model_registration.forget(session, model_id):
            raise UsageError(f"no model {model_id} was added.", field="model_id", remedy="See `expunge models list`.")
        audit_log.record(session, DEFAULT_TENANT, OPERATOR, "model.remove", model_id, now=utc_now())
    typer.echo(f"{model_id} is removed")


@audit.command("list")
def list_audit(data_dir: DataDir = DEFAULT_DATA_DIR, json_output: JsonOutput = False) -> None:
    """Every line, oldest first, as JSON or for people."""
    with _database(data_dir).read() as session:
        for row in audit_log.every(session):
            if json_output:
                typer.echo(AuditLine.model_validate(row, from_attributes=True).model_dump_json())
            else:
                typer.echo(f"{row.seq:>6}  {row.at:%Y-%m-%d %H:%M:%S}  {row.actor:<12}  {row.action:<16}  {row.target}")


@audit.command("verify")
def verify_audit(
    expect: Annotated[str, typer.Option(metavar="SEQ:HASH", help="A line that was there once.")] = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json_output: JsonOutput = False,
) -> None:
    """Look at the whole chain. Note what it prints somewhere else: it finds lines that were cut off later.

    Exit code: 0 nothing was changed; 1 something was.
    """
    with _database(data_dir).read() as session:
        found = audit_log.verify(session, _noted(expect))
    if json_output:
        typer.echo(json.dumps(vars(found)))
    else:
        typer.echo(found.fault or f"{found.lines} lines, nothing was changed. Note: {found.lines}:{found.head}")
    if found.fault:
        raise typer.Exit(1)


def _noted(text: str) -> tuple[int, str] | None:
    number, _, digest = text.partition(":")
    if not text:
        return None
    if not (number.isdecimal() and len(digest) == 64):
        raise UsageError(f'"{text}" is no line.', field="expect", remedy="Give what `expunge audit verify` printed.")
    return int(number), digest


def _scopes(wanted: list[str]) -> list[str]:
    unknown = sorted(set(wanted) - set(SCOPES))
    if unknown:
        raise UsageError(f"there is no scope {unknown[0]}.", field="scope", remedy=f"Known: {', '.join(SCOPES)}.")
    return sorted(set(wanted), key=lambda scope: SCOPES.index(scope)) if wanted else list(SCOPES)


def _check_tenant(tenant: str) -> None:
    if not TENANT.fullmatch(tenant):
        raise UsageError(f'"{tenant}" is no tenant.', field="tenant", remedy="Small letters, digits and dashes.")


def _print_json(records: list[Any]) -> None:
    typer.echo(json.dumps([record.model_dump(mode="json") for record in records if isinstance(record, BaseModel)]))


def _database(data_dir: Path) -> Database:
    """The one that the settings name, at this version's schema."""
    settings = StoreSettings(data_dir=data_dir)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = settings.database()
    database.prepare(sealer=settings.secret_box)
    return database
