"""`expunge db`, `expunge secrets`, `expunge fsck` and `expunge gc`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from api_schemas.cli.common_options import DEFAULT_DATA_DIR, DataDir, JsonOutput

if TYPE_CHECKING:
    from service.store.settings import StoreSettings

db = typer.Typer(help="Upgrade, inspect and back up the database.", no_args_is_help=True, add_completion=False)
secrets = typer.Typer(
    help="Manage the keys that encrypt secrets in the database.", no_args_is_help=True, add_completion=False
)


@db.command()
def upgrade(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Upgrade the database schema to this version, if necessary.

    Set `EXPUNGE_DATABASE_URL` for a database outside the data folder.
    """
    from service.store.private_files import make_private_folder

    settings = _settings(data_dir)
    make_private_folder(settings.data_dir)
    database = settings.database()
    previous = database.revision()
    database.prepare(secret_box=settings.secret_box)
    typer.echo(f"Schema revision: {previous or 'empty'} -> {database.revision()}")


@db.command()
def status(data_dir: DataDir = DEFAULT_DATA_DIR, json_output: JsonOutput = False) -> None:
    """Print the schema revision of the database and the one that this version requires.

    Exit code: 0 they are the same; 1 `expunge db upgrade` is necessary.
    """
    from service.store.migrations import runner

    current, required = _settings(data_dir).existing_database().revision(), runner.head()
    if json_output:
        typer.echo(json.dumps({"found": current, "needed": required}))
    else:
        typer.echo(f"Schema revision: {current or 'none'}. Required: {required}.")
    if current != required:
        raise typer.Exit(1)


@db.command()
def backup(
    out: Annotated[Path, typer.Argument(help="The backup file, which must not exist yet.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Back up the SQLite database consistently while the service runs. Copy the blobs after it."""
    _settings(data_dir).existing_database().backup(out)
    typer.echo(f"Wrote {out} ({out.stat().st_size} bytes).")


@secrets.command()
def new() -> None:
    """Print a new key for `EXPUNGE_SECRETS_KEY`."""
    from service.store import encryption

    typer.echo(encryption.generate_encryption_key())


@secrets.command()
def rotate(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Re-encrypt all secrets with a new key in the data folder, or with the first key of EXPUNGE_SECRETS_KEY.

    The service may keep running. Earlier keys can still decrypt the secrets in copies of the database.
    """
    from service.store import cases_keys, encryption

    settings = _settings(data_dir)
    database = settings.existing_database()
    secret_box = settings.secret_box()
    if not settings.secrets_key:
        encryption.rotate_key_file(settings.secrets_file)
        secret_box = settings.secret_box()
    with database.write() as session:
        endpoints = encryption.reseal_all(session, secret_box)
        cases = cases_keys.reseal_keys(session, secret_box)
    typer.echo(f"Re-encrypted the secrets of {endpoints} webhook endpoints and {cases} keys of cases.")


def fsck(data_dir: DataDir = DEFAULT_DATA_DIR, json_output: JsonOutput = False) -> None:
    """Check the store: hash every blob and check all references and event sequences.

    Exit code: 0 the store is intact; 1 something is missing or corrupt.
    """
    from service.store.fsck import inspect
    from service.store.settings import StoreSettings

    settings = StoreSettings(data_dir=data_dir)
    database = settings.existing_database()
    with Progress(console=Console(stderr=True), disable=json_output, transient=True) as bar:
        task = bar.add_task("Hashing", total=None)
        report = inspect(database, settings.blobs(), lambda size: bar.advance(task, size))
    if json_output:
        typer.echo(json.dumps(asdict(report)))
    else:
        for finding in report.findings:
            typer.echo(f"{finding.code:<10} {finding.subject}: {finding.detail}")
        typer.echo(
            f"Checked {report.jobs} jobs and {report.blobs} blobs ({report.size} bytes, {report.unreferenced} unreferenced): "
            f"{len(report.findings)} problems found."
        )
    if report.findings:
        raise typer.Exit(1)


def gc(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be deleted, without deleting it.")
    ] = False,
    json_output: JsonOutput = False,
) -> None:
    """Delete expired jobs and files that are no longer referenced.

    Finished jobs expire after EXPUNGE_RETENTION_DAYS. The service does this every hour.
    """
    from service.store import retention
    from service.store.clock import utc_now
    from service.store.settings import StoreSettings

    settings = StoreSettings(data_dir=data_dir)
    settings.existing_database()
    garbage = retention.run_maintenance(settings, utc_now(), dry_run=dry_run)
    if json_output:
        typer.echo(json.dumps(asdict(garbage)))
    else:
        verb = "Would delete" if dry_run else "Deleted"
        typer.echo(f"{verb} {garbage.blobs} blobs ({garbage.size} bytes) and {garbage.folders} working folders.")


def _settings(data_dir: Path) -> "StoreSettings":
    """Return the settings. Files that the command writes are private."""
    from service.store.private_files import set_private_umask
    from service.store.settings import StoreSettings

    set_private_umask()
    return StoreSettings(data_dir=data_dir)
