"""`expunge verify`: is this what was published, by whom, and does it add up?"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from api_schemas.attestation import Finding, Verification
from api_schemas.cli.main import NOT_PASSED
from api_schemas.cli.options import JsonOutput
from editor.publishing.attestation.keys import DEFAULT_FOLDER, LIST, read_keys

Published = Annotated[
    Path, typer.Argument(metavar="FOLDER", exists=True, file_okay=False, help="What `expunge edit --out` wrote.")
]
Keys = Annotated[
    Path,
    typer.Option(
        metavar="FILE", envvar="EXPUNGE_TRUSTED_KEYS", help="Whom to trust: what `expunge keys export` printed."
    ),
]
Base = Annotated[
    Path | None,
    typer.Option(metavar="PATH", exists=True, help="The base model: is base plus delta what was published?"),
]
Partial = Annotated[bool, typer.Option("--partial", help="Not all files were fetched; those that are here must hold.")]
COLOURS = {"ok": "green", "failed": "red", "skipped": "yellow"}


def verify(
    folder: Published,
    keys: Keys = DEFAULT_FOLDER / LIST,
    base: Base = None,
    partial: Partial = False,
    json_output: JsonOutput = False,
) -> None:
    """Verify published files, offline: signature, every byte, the gates, and with --base that the delta was applied.

    Exit code: 0 all holds, 1 something does not; it is named.
    """
    from editor.publishing.attestation.verification_case import Case
    from editor.publishing.attestation.verify import verify as verified

    found = verified(Case(folder, read_keys(keys.expanduser()), base, partial))
    if json_output:
        typer.echo(found.model_dump_json())
    else:
        show(found, Console(highlight=False, soft_wrap=True))
    if not found.ok:
        raise typer.Exit(NOT_PASSED)


def show(found: Verification, console: Console) -> None:
    """What failed in full, what holds in brief."""
    for finding in found.findings:
        if finding.outcome != "ok":
            console.print(line(finding))
    good = sum(finding.outcome == "ok" for finding in found.findings)
    console.print(f"{good} of {len(found.findings)} checks hold")
    for keyid in found.signed_by:
        console.print(f"signed by {keyid}")
    console.print("[bold green]verified[/]" if found.ok else "[bold red]not verified[/]")


def line(finding: Finding) -> str:
    """One finding."""
    colour = COLOURS[finding.outcome]
    return f"[{colour}]{finding.outcome}[/] {finding.check} {escape(finding.about)}: {escape(finding.detail)}"
