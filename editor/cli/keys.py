"""`expunge keys`: the keys that sign what is published."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from api_schemas.attestation import PublicKey
from api_schemas.cli.options import JsonOutput
from editor.publishing.attestation.keys import DEFAULT_FOLDER, KeyFolder

keys = typer.Typer(
    help="Make, list, rotate, revoke and hand out the keys that sign what is published.",
    no_args_is_help=True,
    add_completion=False,
)
Folder = Annotated[
    Path,
    typer.Option(
        "--folder", metavar="DIR", envvar="EXPUNGE_SIGNING_DIR", file_okay=False, help="Where the keys are kept."
    ),
]


@keys.command("new")
def new(folder: Folder = DEFAULT_FOLDER, json_output: JsonOutput = False) -> None:
    """Make a key; it signs from now on."""
    show([opened(folder).create(now())], json_output)


@keys.command("list")
def listing(folder: Folder = DEFAULT_FOLDER, json_output: JsonOutput = False) -> None:
    """List all keys, oldest first."""
    show(opened(folder).public().keys, json_output)


@keys.command("rotate")
def rotate(folder: Folder = DEFAULT_FOLDER, json_output: JsonOutput = False) -> None:
    """Make a key in place of the ones that sign now. What those signed stays good."""
    show([opened(folder).rotate(now())], json_output)


@keys.command("revoke")
def revoke(
    keyid: Annotated[str, typer.Argument(metavar="KEYID", help="As `expunge keys list` has it.")],
    folder: Folder = DEFAULT_FOLDER,
    json_output: JsonOutput = False,
) -> None:
    """Declare that nothing a key signed is good any more, whenever it was: the key fell into other hands."""
    show([opened(folder).revoke(keyid, now())], json_output)


@keys.command("export")
def export(folder: Folder = DEFAULT_FOLDER) -> None:
    """Print the public list as JSON, for `expunge verify --keys`."""
    typer.echo(opened(folder).public().model_dump_json(by_alias=True, indent=2))


def opened(folder: Path) -> KeyFolder:
    """The folder of keys."""
    return KeyFolder(folder.expanduser())


def now() -> datetime:
    """To the second: nobody needs more, and it reads better."""
    return datetime.now(UTC).replace(microsecond=0)


def show(keys: list[PublicKey], json_output: bool) -> None:
    """For people or for machines."""
    if json_output:
        typer.echo(json.dumps([key.model_dump(mode="json", by_alias=True) for key in keys]))
        return
    table = Table("key", "from", "until", "state", box=None)
    for key in keys:
        until = key.not_after.isoformat() if key.not_after else ""
        table.add_row(key.keyid, key.not_before.isoformat(), until, state(key))
    Console(soft_wrap=True).print(table)


def state(key: PublicKey) -> str:
    """In a word."""
    if key.revoked_at:
        return "revoked"
    return "signs" if key.is_valid_at(now()) else "retired"
