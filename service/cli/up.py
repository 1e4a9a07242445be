"""`expunge up`."""

import json
import shlex
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from api_schemas.cli.common_options import DEFAULT_DATA_DIR, DataDir


def up(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 selects a free one.")] = 8484,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    tls_certificate: Annotated[
        Path | None, typer.Option(envvar="EXPUNGE_TLS_CERTIFICATE", help="TLS certificate, a PEM file.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(envvar="EXPUNGE_TLS_KEY", help="Private key, a PEM file.")] = None,
    behind_proxy: Annotated[
        bool,
        typer.Option(
            help="Allow unencrypted connections from other machines: a proxy or private network protects them."
        ),
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one line of JSON when ready.")] = False,
) -> None:
    """Run the whole service on one data folder: broker, workers, dispatcher and API.

    Exit code: 0 it was stopped; 2 a setting, an option or the data folder is wrong, and nothing was started; 3 it
    could not start, or a process keeps failing.
    """
    from service.launcher.preflight import check_settings
    from service.store.private_files import set_private_umask

    check_settings(data_dir)
    set_private_umask()
    from service.launcher.stack import LaunchOptions, run_stack
    from service.launcher.tls import ListenPolicy

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    listen_policy = ListenPolicy(tls_certificate, tls_key, behind_proxy)
    options = LaunchOptions(data_dir.expanduser().absolute(), host, port, listen_policy)
    with run_stack(options, stop) as (announcement, supervisor):
        if not stop.is_set():
            print_announcement(announcement, json_output)
        supervisor.watch(stop)


def print_announcement(announcement: dict[str, str | int], json_output: bool) -> None:
    """Print where the service runs, or the announcement itself as JSON."""
    if json_output:
        typer.echo(json.dumps(announcement))
        return
    console = Console(highlight=False)
    console.print(f"[bold green]Expunge is running[/] at [bold]{announcement['url']}[/]", soft_wrap=True)
    console.print(
        f"Open {announcement['url']} in a browser, and sign in with the API key in {announcement['api_key_file']}",
        soft_wrap=True,
    )
    console.print(f"The data folder is {announcement['data_dir']}", soft_wrap=True)
    console.print(f"Try: {_example_command(announcement)}", markup=False, soft_wrap=True)
    console.print("Press Ctrl-C to stop.")


def _example_command(announcement: dict[str, str | int]) -> str:
    """Return a command for the shell that edits a model with this service. Its folder holds the URL and the API key."""
    data_dir = shlex.quote(str(announcement["data_dir"]))
    return f'expunge edit --remove "fox=dog face" --out fox-free --data-dir {data_dir}'
