"""`expunge db`, `expunge secrets`, `expunge fsck` and `expunge gc`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from api_schemas.cli.options import JsonOutput
from service.store import encryption, retention
from service.store import fsck as fsck_
from service.store.clock import utc_now
from service.store.migrations import runner
from service.store.settings import DEFAULT_DATA_DIR, StoreSettings

db = typer.Typer(help="The database: its schema.", no_args_is_help=True, add_completion=False)
secrets = typer.Typer(
    help="The keys that secrets in the database are sealed with.", no_args_is_help=True, add_completion=False
)

DataDir = Annotated[Path, typer.Option(envvar="EXPUNGE_DATA_DIR", help="The data folder.")]


@db.command()
def upgrade(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Bring the database to the schema of this version. Does nothing where it has it.

    `EXPUNGE_DATABASE_URL` names a database elsewhere than in the data folder.
    """
    settings = _settings(data_dir)
    database = settings.database()
    found = database.revision()
    database.prepare(sealer=settings.secret_box)
    typer.echo(f"{found or 'empty'} -> {database.revision()}")


@db.command()
def status(data_dir: DataDir = DEFAULT_DATA_DIR, json_output: JsonOutput = False) -> None:
    """Say which schema the database has, and which one this version needs.

    Exit code: 0 the same; 1 `expunge db upgrade` has something to do.
    """
    found, needed = _settings(data_dir).database().revision(), runner.head()
    if json_output:
        typer.echo(json.dumps({"found": found, "needed": needed}))
    else:
        typer.echo(f"found {found or 'none'}, needed {needed}")
    if found != needed:
        raise typer.Exit(1)


@db.command()
def backup(
    out: Annotated[Path, typer.Argument(help="A file that is not there yet.")], data_dir: DataDir = DEFAULT_DATA_DIR
) -> None:
    """Copy the SQLite database as it is at one moment, beside a running service. Copy the blobs after it."""
    _settings(data_dir).database().backup(out)
    typer.echo(f"{out.stat().st_size} bytes")


@secrets.command()
def new() -> None:
    """Print a fresh key, for `EXPUNGE_SECRETS_KEY`."""
    typer.echo(encryption.new_key())


@secrets.command()
def rotate(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Seal everything again, under a fresh key in the data folder's file, or under the first of EXPUNGE_SECRETS_KEY.

    The service may run meanwhile. Keys that came before still open what copies of the database have.
    """
    settings = _settings(data_dir)
    sealer = settings.secret_box()
    if not settings.secrets_key:
        encryption.rotate(settings.secrets_file)
        sealer = settings.secret_box()
    with settings.database().write() as session:
        sealed = encryption.seal_again(session, sealer)
    typer.echo(f"{sealed} receivers' secrets are sealed again")


def fsck(data_dir: DataDir = DEFAULT_DATA_DIR, json_output: JsonOutput = False) -> None:
    """Hash every stored file again, follow every reference, count every history.

    Exit code: 0 all is well; 1 something is missing or not what it was.
    """
    settings = StoreSettings(data_dir=data_dir)
    with Progress(console=Console(stderr=True), disable=json_output, transient=True) as bar:
        task = bar.add_task("hashing", total=None)
        found = fsck_.inspect(settings.database(), settings.blobs(), lambda size: bar.advance(task, size))
    if json_output:
        typer.echo(json.dumps(asdict(found)))
    else:
        for finding in found.findings:
            typer.echo(f"{finding.code:<10} {finding.subject}: {finding.detail}")
        typer.echo(
            f"{found.jobs} jobs, {found.blobs} blobs, {found.size} bytes; {found.unreferenced} blobs are referred to by "
            f"nothing; {len(found.findings)} findings"
        )
    if found.findings:
        raise typer.Exit(1)


def gc(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go.")] = False,
    json_output: JsonOutput = False,
) -> None:
    """Forget ended jobs that are older than EXPUNGE_RETENTION_DAYS, and remove what nothing refers to.

    The service does so by itself every hour.
    """
    settings = StoreSettings(data_dir=data_dir)
    rubbish = retention.run_maintenance(settings, utc_now(), dry_run=dry_run)
    if json_output:
        typer.echo(json.dumps(asdict(rubbish)))
    else:
        typer.echo(f"{rubbish.blobs} blobs with {rubbish.size} bytes, {rubbish.folders} working folders")


def _settings(data_dir: Path) -> StoreSettings:
    settings = StoreSettings(data_dir=data_dir)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return settings
