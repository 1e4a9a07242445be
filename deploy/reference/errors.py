"""The error reference: the exception tree, with the messages and remedies of every place that raises."""

import ast
import importlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from api_schemas.base import field_error
from api_schemas.errors import ExpungeError
from api_schemas.problems import DEFAULT_REMEDY, REMEDIES
from deploy.reference.markdown import GENERATED, code, summary, table
from service.errors import ServiceError

ROOT = Path(__file__).parents[2]
PACKAGES = ("api_schemas", "editor", "service", "worker")
TREES = {
    "Input and client": ("api_schemas.errors", "api_schemas.problems"),
    "HTTP API": ("service.errors",),
    "Editor": ("editor.errors",),
    "Store": ("service.store.errors",),
    "Launcher and worker": ("service.launcher.errors", "worker.errors"),
}
HEAD = f"""# Error codes

{GENERATED}

Every error has a stable `code`, a message, the `field` that it is about, where there is one, and a `remedy`. The command line
prints message and remedy, and with `--json` all four; a job has them in `error`; the HTTP API answers with an RFC 9457 problem
whose `type` is `urn:expunge:problem:CODE`. Words in braces stand for values.
"""


class RaiseSite(NamedTuple):
    """The message and the remedy of one place that raises."""

    message: str
    remedy: str


def page() -> str:
    """Return the page."""
    sites = raise_sites()
    parts = [HEAD]
    for title, modules in TREES.items():
        parts.append(f"## {title}\n")
        parts += [_section(error, sites[error]) for module in modules for error in _errors(module)]
    return "\n".join([*parts, _validation()])


def raise_sites() -> dict[type[ExpungeError], list[RaiseSite]]:
    """Return the places where errors are created, by class."""
    sites: dict[type[ExpungeError], list[RaiseSite]] = defaultdict(list)
    known = {error.__name__: error for modules in TREES.values() for module in modules for error in _errors(module)}
    for path, tree in _sources():
        names = known | _imported_errors(tree) if "/errors.py" not in path else known
        for call in _calls(tree):
            error = names.get(ast.unparse(call.func).rpartition(".")[2])
            if error and call.args and (message := _text(call.args[0])):
                remedy = next((_text(word.value) for word in call.keywords if word.arg == "remedy"), "")
                sites[error].append(RaiseSite(message, remedy))
    return sites


def _section(error: type[ExpungeError], sites: list[RaiseSite]) -> str:
    """Return the section of an error: its code, its meaning and its messages."""
    facts = [summary(error)]
    if issubclass(error, ServiceError):
        facts.insert(0, f"HTTP status {error.status}: {error.title}.")
    if error.retryable:
        facts.append("The same request may succeed later.")
    rows = [(site.message, site.remedy) for site in sorted(set(sites))]
    listed = "\n" + table(("message", "what to do"), rows) if rows else ""
    return f"### {error.code}\n\n{' '.join(facts)}\n{listed}"


def _validation() -> str:
    """Return the section of field codes, those in ``errors`` of an ``invalid_request``."""
    rows = [(code(name), "", remedy) for name, remedy in REMEDIES.items()]
    for _, tree in _sources():
        for call in _calls(tree):
            if ast.unparse(call.func) == field_error.__name__ and len(call.args) >= len(("code", "message", "remedy")):
                name, message, remedy = (_text(argument) for argument in call.args[:3])
                rows.append((code(name), message, remedy))
    body = table(("code", "message", "what to do"), dict.fromkeys(rows))
    return f"## Fields\n\nCodes in `errors` of an `invalid_request`. For every other code: {DEFAULT_REMEDY}\n\n{body}"


def _errors(module: str) -> list[type[ExpungeError]]:
    """Return the exception classes of a module that define a code, in order."""
    members = [one for one in vars(importlib.import_module(module)).values() if isinstance(one, type)]
    return [
        one for one in members if issubclass(one, ExpungeError) and one.__module__ == module and "code" in vars(one)
    ]


def _sources() -> Iterator[tuple[str, ast.Module]]:
    """Yield the path and the syntax tree of every source file."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.as_posix(), ast.parse(path.read_text())


def _imported_errors(tree: ast.Module) -> dict[str, type[ExpungeError]]:
    """Return the errors that a module imports by local name; several classes have the same name."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").endswith(("errors", "problems")):
            module = importlib.import_module(str(node.module)) if str(node.module).startswith(PACKAGES) else None
            for alias in node.names:
                value = getattr(module, alias.name, None)
                if isinstance(value, type) and issubclass(value, ExpungeError):
                    found[alias.asname or alias.name] = value
    return found


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _text(node: ast.expr) -> str:
    """Return a string literal with ``{name}`` placeholders, or an empty string for other expressions."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(_text(value) for value in values)
        case ast.FormattedValue(value=value):
            return f"{{{_placeholder(value)}}}"
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left) + (_text(right) or f"{{{_placeholder(right)}}}")
    return ""


def _placeholder(node: ast.expr) -> str:
    """Return a name for a value: the last attribute or variable of a simple expression."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) if not name.startswith("__"):
            return name.strip("_").lower()
        case ast.Call(func=ast.Attribute(attr="join"), args=[argument]):
            return _placeholder(argument)
        case ast.Call(args=[argument]) | ast.Subscript(value=argument):
            return _placeholder(argument)
    return "…"
