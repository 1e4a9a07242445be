"""`expunge verify`: verify published files offline."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from api_schemas.attestation import Finding, Verification
from api_schemas.cli.common_options import JsonOutput
from api_schemas.cli.main import NOT_PASSED
from editor.publishing.attestation.keys import DEFAULT_FOLDER, KEY_LIST

Published = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER", exists=True, file_okay=False, help="A folder that `expunge edit` or `expunge erase` wrote."
    ),
]
Keys = Annotated[
    Path,
    typer.Option(
        metavar="FILE", envvar="EXPUNGE_TRUSTED_KEYS", help="Trusted public keys, as `expunge keys export` prints them."
    ),
]
Base = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH", exists=True, help="The base model; checks that base plus delta gives the published weights."
    ),
]
Partial = Annotated[bool, typer.Option("--partial", help="Accept missing files; those present must be valid.")]
COLOURS = {"ok": "green", "failed": "red", "skipped": "yellow", "unknown": "red"}


def verify(
    folder: Published,
    keys: Keys = DEFAULT_FOLDER / KEY_LIST,
    base: Base = None,
    partial: Partial = False,
    json_output: JsonOutput = False,
) -> None:
    """Verify published files offline: signatures, every byte, the gates, and the delta against its base.

    The folder may be the whole pipeline, as the Hub routes serve it. Exit code: 0 every check passed; 1 a check failed or a
    file is not signed, which is named.
    """
    from editor.publishing.attestation.verify import verify_bundle

    found = verify_bundle(folder, keys.expanduser(), base, partial=partial)
    if json_output:
        typer.echo(found.model_dump_json())
    else:
        print_verification(found, Console(highlight=False, soft_wrap=True))
    if not found.ok:
        raise typer.Exit(NOT_PASSED)


def print_verification(found: Verification, console: Console) -> None:
    """Print every check that did not pass, and how many did."""
    for finding in found.findings:
        if finding.outcome != "ok":
            console.print(finding_line(finding))
    counts = Counter(finding.outcome for finding in found.findings)
    notes = [f"{counts['skipped']} skipped"] if counts["skipped"] else []
    notes += [f"{counts['unknown']} unknown, which nobody signed"] if counts["unknown"] else []
    done = f"{counts['ok']} of {counts['ok'] + counts['failed']} checks passed"
    console.print("; ".join([done, *notes]))
    for keyid in found.signed_by:
        console.print(f"signed by {keyid}")
    console.print("[bold green]verified[/]" if found.ok else "[bold red]not verified[/]")


def finding_line(finding: Finding) -> str:
    """Return the outcome of one check as a line."""
    colour = COLOURS[finding.outcome]
    return f"[{colour}]{finding.outcome}[/] {finding.check} {escape(finding.about)}: {escape(finding.detail)}"
