"""The command-line reference: every command of `expunge` with its arguments and options."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import typer

from api_schemas.cli.commands import SUMMARIES
from api_schemas.cli.main import load_command, root
from deploy.reference.markdown import GENERATED, code, table

HEAD = f"""# Command line

{GENERATED} `expunge COMMAND --help` prints the same.

Every command exits with 0 when it is done, 1 when the verdict or the check is negative, 2 when the input is wrong and 3 when
something failed. Errors go to standard error as one line; with `--json` they are printed as one JSON object
([error codes](errors.md)).
"""
NOTES = re.compile(r"\s*\[([^\[\]]*)\]$")
"""The notes that Typer appends to the help of an option: environment variable, default and bounds."""


def page() -> str:
    """Return the page."""
    group: Any = typer.main.get_command(root)
    parts, panel = [HEAD], ""
    for name, summary in SUMMARIES.items():
        if summary.panel != panel:
            panel = summary.panel
            parts.append(f"## {panel}\n")
        parts += _sections(f"expunge {name}", load_command(group.entries[name]), 3)
    return "\n".join(parts)


def _sections(path: str, command: Any, level: int) -> Iterator[str]:
    """Yield the section of a command and, for a group, those of its sub-commands."""
    context = command.context_class(command, info_name=path)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    text = "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(command.help or "").split("\n\n"))
    yield f"{'#' * level} {path}\n\n{text}\n\n```text\n{usage}\n```\n"
    commands: dict[str, Any] = getattr(command, "commands", {})
    if not commands:
        yield from _tables(command, context)
    for name, sub_command in commands.items():
        yield from _sections(f"{path} {name}", sub_command, level + 1)


def _tables(command: Any, context: Any) -> Iterator[str]:
    """Yield the tables of the arguments and the options of a command."""
    for kind, title in (("argument", "argument"), ("option", "option")):
        parameters = [one for one in command.params if one.param_type_name == kind and not one.hidden]
        rows = [_row(one, context) for one in parameters if "--show-completion" not in one.opts]
        rows = [row for row in rows if "--install-completion" not in row[0]]
        if rows:
            yield table((title, "default", "meaning"), rows)


def _row(parameter: Any, context: Any) -> tuple[str, str, str]:
    """Return the usage, default and help of a parameter."""
    record = parameter.get_help_record(context)
    usage, text = record if record else (parameter.name, "")
    notes = NOTES.search(text)
    extras = dict(_note(part) for part in notes[1].split("; ")) if notes else {}
    default = "required" if parameter.required else code(extras.pop("default", ""))
    extras.pop("required", None)
    meaning = (parameter.help or "").strip()
    for key, value in extras.items():
        meaning += f" Environment variable: `{value}`." if key == "env var" else f" Range: `{value or key}`."
    return code(usage), default, meaning


def _note(part: str) -> tuple[str, str]:
    key, _, value = part.partition(": ")
    return key, value
