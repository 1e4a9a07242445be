"""`expunge keys`: the keys that sign published files."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from api_schemas.attestation import PublicKey
from api_schemas.cli.common_options import JsonOutput
from editor.publishing.attestation.keys import DEFAULT_FOLDER, KeyFolder

keys = typer.Typer(
    help="Create, list and export the keys that sign published files.",
    no_args_is_help=True,
    add_completion=False,
)
Folder = Annotated[
    Path,
    typer.Option(
        "--folder", metavar="DIR", envvar="EXPUNGE_SIGNING_DIR", file_okay=False, help="The folder of the keys."
    ),
]


@keys.command("new")
def new(folder: Folder = DEFAULT_FOLDER, json_output: JsonOutput = False) -> None:
    """Create a key, which signs from now on."""
    print_keys([open_key_folder(folder).create(now())], json_output)


@keys.command("list")
def listing(folder: Folder = DEFAULT_FOLDER, json_output: JsonOutput = False) -> None:
    """List all keys, oldest first."""
    print_keys(open_key_folder(folder).public().keys, json_output)


@keys.command("rotate")
def rotate(folder: Folder = DEFAULT_FOLDER, json_output: JsonOutput = False) -> None:
    """Create a key that replaces the current ones. Existing signatures stay valid."""
    print_keys([open_key_folder(folder).rotate(now())], json_output)


@keys.command("revoke")
def revoke(
    keyid: Annotated[str, typer.Argument(metavar="KEYID", help="As listed by `expunge keys list`.")],
    folder: Folder = DEFAULT_FOLDER,
    json_output: JsonOutput = False,
) -> None:
    """Revoke a compromised key: none of its signatures is valid any more, whenever it was made."""
    print_keys([open_key_folder(folder).revoke(keyid, now())], json_output)


@keys.command("export")
def export(folder: Folder = DEFAULT_FOLDER) -> None:
    """Print the public keys as JSON, for `expunge verify --keys`."""
    typer.echo(open_key_folder(folder).public().model_dump_json(by_alias=True, indent=2))


def open_key_folder(folder: Path) -> KeyFolder:
    """Open the folder of keys."""
    return KeyFolder(folder.expanduser())


def now() -> datetime:
    """Return the current time in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def print_keys(keys: list[PublicKey], json_output: bool) -> None:
    """Print keys as a table or as JSON."""
    if json_output:
        typer.echo(json.dumps([key.model_dump(mode="json", by_alias=True) for key in keys]))
        return
    table = Table("key", "from", "until", "state", box=None)
    for key in keys:
        until = key.not_after.isoformat() if key.not_after else ""
        table.add_row(key.keyid, key.not_before.isoformat(), until, key_state(key))
    Console(soft_wrap=True).print(table)


def key_state(key: PublicKey) -> str:
    """Return whether a key signs, is retired or is revoked."""
    if key.revoked_at:
        return "revoked"
    return "signs" if key.is_valid_at(now()) else "retired"
