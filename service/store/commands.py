"""`expunge db`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from api_schemas.options import JsonOutput
from service.store import migrate
from service.store.database import Database
from service.store.settings import DEFAULT_DATA_DIR, StoreSettings

db = typer.Typer(help="The database: its schema.", no_args_is_help=True)

DataDir = Annotated[Path, typer.Option(envvar="EXPUNGE_DATA_DIR", help="The data folder.")]


@db.command()
def upgrade(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Bring the database to the schema of this version. Does nothing where it has it.

    `EXPUNGE_DATABASE_URL` names a database elsewhere than in the data folder.
    """
    database = _database(data_dir)
    found = database.revision()
    database.prepare()
    typer.echo(f"{found or 'empty'} -> {database.revision()}")


@db.command()
def status(data_dir: DataDir = DEFAULT_DATA_DIR, json_output: JsonOutput = False) -> None:
    """Say which schema the database has, and which one this version needs.

    Exit code: 0 the same; 1 `expunge db upgrade` has something to do.
    """
    found, needed = _database(data_dir).revision(), migrate.head()
    if json_output:
        typer.echo(json.dumps({"found": found, "needed": needed}))
    else:
        typer.echo(f"found {found or 'none'}, needed {needed}")
    if found != needed:
        raise typer.Exit(1)


def _database(data_dir: Path) -> Database:
    settings = StoreSettings(data_dir=data_dir)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return settings.database()
