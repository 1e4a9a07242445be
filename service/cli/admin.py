"""Commands that administer the database directly: `expunge api-keys`, `expunge models`, `expunge audit`.

They require access to the machine, and no API key. `expunge models register`, `show`, `delete` and `calibrate` use the API.
"""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from api_schemas.access import DEFAULT_TENANT, SCOPES, TENANT_PATTERN, TENANT_SCOPES, ApiKeyRecord
from api_schemas.audit import AuditLine
from api_schemas.cli.calibrate import calibrate
from api_schemas.cli.common_options import DEFAULT_DATA_DIR, DataDir, JsonOutput
from api_schemas.cli.models import delete, register, show
from api_schemas.errors import UsageError

if TYPE_CHECKING:
    from service.store.database import Database

OPERATOR_ACTOR = "operator"
"""The actor of these commands in the audit log."""
CHECKPOINT = re.compile("([0-9]{1,18}):([0-9a-f]{64})")

api_keys = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True, add_completion=False)
models = typer.Typer(
    help="Register, list, calibrate and delete base models.", no_args_is_help=True, add_completion=False
)
models.command("register")(register)
models.command("show")(show)
models.command("delete")(delete)
models.command("calibrate")(calibrate)
audit = typer.Typer(help="List and verify the audit log.", no_args_is_help=True, add_completion=False)


@api_keys.command("create")
def create_key(
    tenant: Annotated[
        str, typer.Option(help="The tenant whose edits, files and ledgers the key gives access to.")
    ] = DEFAULT_TENANT,
    scope: Annotated[
        list[str], typer.Option(help="A scope of the key; may be repeated. Default: all that concern one tenant.")
    ] = [],  # noqa: B006
    name: Annotated[str, typer.Option(help="A note for your own use.")] = "",
    days: Annotated[float, typer.Option(min=0, help="Days until the key expires. 0: never.")] = 0,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json_output: JsonOutput = False,
) -> None:
    """Create an API key and print it. It is shown only once, because only its hash is stored."""
    from service.store import api_keys as keys
    from service.store import audit as audit_log
    from service.store.clock import utc_now

    _check_tenant(tenant)
    scopes, now, key = _validate_scopes(scope), utc_now(), keys.generate_api_key()
    expires_at = now + timedelta(days=days) if days else None
    with _database(data_dir).write() as session:
        key_id = keys.register(session, key, now=now, tenant=tenant, name=name, scopes=scopes, expires_at=expires_at)
        audit_log.record(session, tenant, OPERATOR_ACTOR, "api_key.create", key_id, now=now, scopes=scopes)
    typer.echo(json.dumps({"id": key_id, "key": key}) if json_output else key)


@api_keys.command("list")
def list_keys(data_dir: DataDir = DEFAULT_DATA_DIR, json_output: JsonOutput = False) -> None:
    """List the API keys of all tenants, without the keys themselves."""
    from service.store import api_keys as keys

    with _database(data_dir).read() as session:
        records = [ApiKeyRecord.model_validate(key, from_attributes=True) for key in keys.all_keys(session)]
    if json_output:
        return _print_json(records)
    table = Table("id", "tenant", "name", "scopes", "valid until", "last used", box=None, pad_edge=False)
    for key in records:
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
    key_id: Annotated[str, typer.Argument(help="The id from `expunge api-keys list`.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Revoke an API key. It stops working within a second."""
    from service.store import api_keys as keys
    from service.store import audit as audit_log
    from service.store.clock import utc_now

    with _database(data_dir).write() as session:
        record = keys.revoke(session, key_id, now=utc_now())
        if record is None:
            raise UsageError(f"There is no API key {key_id}.", field="key_id", remedy="See `expunge api-keys list`.")
        audit_log.record(session, record.tenant, OPERATOR_ACTOR, "api_key.revoke", key_id, now=utc_now())
    typer.echo(f"API key {key_id} is revoked.")


@models.command("add")
def add_model(
    path: Annotated[
        Path,
        typer.Argument(help="A diffusers folder without code, or a safetensors file."),
    ],
    name: Annotated[
        str, typer.Option("--id", help="The id of the model in requests. Default: the name of the folder or file.")
    ] = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json_output: JsonOutput = False,
) -> None:
    """Register a base model. Its files are hashed, and on later runs only those that have changed."""
    from service.store import audit as audit_log
    from service.store import registered_files
    from service.store.clock import utc_now

    model = path.expanduser().absolute()
    database = _database(data_dir)
    total = sum(file.stat().st_size for file in registered_files.model_files(model).values())
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=json_output, transient=True) as bar:
        task = bar.add_task("Hashing", total=total)
        result = registered_files.register_model(
            database, name or _default_id(model), model, utc_now(), lambda size: bar.advance(task, size)
        )
    with database.write() as session:
        counts = {"files": result.files, "hashed": result.hashed}
        audit_log.record(session, DEFAULT_TENANT, OPERATOR_ACTOR, "model.add", result.model, now=utc_now(), **counts)
    message = f"Registered {result.model}: {result.files} files, of which {result.hashed} hashed."
    typer.echo(json.dumps(vars(result)) if json_output else message)


def _default_id(model: Path) -> str:
    """Return the name of a folder, or of a file without its suffix."""
    return model.stem if model.is_file() else model.name


@models.command("list")
def list_models(data_dir: DataDir = DEFAULT_DATA_DIR, json_output: JsonOutput = False) -> None:
    """List the base models: registered ones and those of the settings."""
    from service.store.settings import StoreSettings

    settings = StoreSettings(data_dir=data_dir)
    settings.existing_database()
    registered = settings.registry().all()
    if json_output:
        typer.echo(json.dumps([{"id": model.id, "path": str(model.path)} for model in registered]))
    else:
        for model in registered:
            typer.echo(f"{model.id:<24} {model.path}")


@models.command("remove")
def remove_model(
    model_id: Annotated[str, typer.Argument(help="The id of the model.")], data_dir: DataDir = DEFAULT_DATA_DIR
) -> None:
    """Remove a base model from the registry. Its files stay, and so do its published edits, except full weights."""
    from service.store import audit as audit_log
    from service.store import registered_files
    from service.store.clock import utc_now

    with _database(data_dir).write() as session:
        if not registered_files.unregister_model(session, model_id):
            raise UsageError(
                f"The model {model_id} is not registered.", field="model_id", remedy="See `expunge models list`."
            )
        audit_log.record(session, DEFAULT_TENANT, OPERATOR_ACTOR, "model.remove", model_id, now=utc_now())
    typer.echo(f"Model {model_id} is removed.")


@audit.command("list")
def list_audit(data_dir: DataDir = DEFAULT_DATA_DIR, json_output: JsonOutput = False) -> None:
    """List the audit log, oldest line first."""
    from service.store import audit as audit_log

    with _database(data_dir).read() as session:
        for row in audit_log.all_lines(session):
            if json_output:
                typer.echo(AuditLine.model_validate(row, from_attributes=True).model_dump_json())
            else:
                typer.echo(f"{row.seq:>6}  {row.at:%Y-%m-%d %H:%M:%S}  {row.actor:<12}  {row.action:<16}  {row.target}")


@audit.command("verify")
def verify_audit(
    expect: Annotated[
        str, typer.Option(metavar="SEQ:HASH", help="A checkpoint that an earlier `expunge audit verify` printed.")
    ] = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json_output: JsonOutput = False,
) -> None:
    """Verify the hash chain of the audit log.

    Store the printed checkpoint on another machine: with --expect it reveals lines that were cut off at the end.

    Exit code: 0 the log is intact; 1 it was changed.
    """
    from service.store import audit as audit_log

    with _database(data_dir).read() as session:
        check = audit_log.verify(session, _parse_checkpoint(expect))
    if json_output:
        typer.echo(json.dumps(vars(check)))
    else:
        typer.echo(
            check.fault or f"The audit log is intact ({check.lines} lines). Checkpoint: {check.lines}:{check.head}"
        )
    if check.fault:
        raise typer.Exit(1)


def _parse_checkpoint(text: str) -> tuple[int, str] | None:
    if not text:
        return None
    match = CHECKPOINT.fullmatch(text)
    if match is None:
        raise UsageError(
            f"'{text}' is not an audit checkpoint.",
            field="expect",
            remedy="Pass the checkpoint that `expunge audit verify` printed, SEQ:HASH.",
        )
    return int(match[1]), match[2]


def _validate_scopes(scopes: list[str]) -> list[str]:
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown:
        raise UsageError(f"Unknown scope '{unknown[0]}'.", field="scope", remedy=f"Known scopes: {', '.join(SCOPES)}.")
    return [scope for scope in SCOPES if scope in scopes] if scopes else list(TENANT_SCOPES)


def _check_tenant(tenant: str) -> None:
    if not TENANT_PATTERN.fullmatch(tenant):
        raise UsageError(
            f"'{tenant}' is not a valid tenant name.",
            field="tenant",
            remedy="Use lower-case letters, digits and dashes.",
        )


def _print_json(records: list[Any]) -> None:
    typer.echo(json.dumps([record.model_dump(mode="json") for record in records if isinstance(record, BaseModel)]))


def _database(data_dir: Path) -> "Database":
    """Open the existing database of the settings and upgrade its schema if necessary. Raises `UsageError`."""
    from service.store.settings import StoreSettings

    settings = StoreSettings(data_dir=data_dir)
    database = settings.existing_database()
    database.prepare(secret_box=settings.secret_box)
    return database
