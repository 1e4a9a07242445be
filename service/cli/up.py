"""`expunge up`."""

import json
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from service.launcher.stack import Options, running
from service.launcher.tls import Exposure
from service.store.settings import DEFAULT_DATA_DIR


def up(
    data_dir: Annotated[
        Path, typer.Option(envvar="EXPUNGE_DATA_DIR", help="Everything is kept in here.")
    ] = DEFAULT_DATA_DIR,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8484,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    tls_certificate: Annotated[
        Path | None, typer.Option(envvar="EXPUNGE_TLS_CERTIFICATE", help="PEM file: encrypt what comes here.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(envvar="EXPUNGE_TLS_KEY", help="PEM file with its key.")] = None,
    behind_proxy: Annotated[
        bool,
        typer.Option(help="Listen where others may reach it, unencrypted: a proxy or a private network protects it."),
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON line when ready.")] = False,
) -> None:
    """Start the whole service on one data folder: broker, worker, dispatcher and API."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    exposure = Exposure(tls_certificate, tls_key, behind_proxy)
    options = Options(data_dir.expanduser().absolute(), host, port, exposure)
    with running(options, stop) as (found, supervisor):
        if not stop.is_set():
            _announce(found, json_output)
        supervisor.watch(stop)


def _announce(found: dict[str, str | int], json_output: bool) -> None:
    if json_output:
        typer.echo(json.dumps(found))
        return
    console = Console(highlight=False)
    console.print(f"[bold green]Expunge is up[/] at [bold]{found['url']}[/]", soft_wrap=True)
    console.print(f"API key      {found['api_key_file']}", soft_wrap=True)
    console.print(f"data folder  {found['data_dir']}", soft_wrap=True)
    console.print('Try          expunge edit --remove "fox=dog face" --out fox-free', soft_wrap=True)
    console.print("Ctrl-C stops everything.")
