"""The Python reference: the names in ``editor.__all__`` with their signatures and docstrings."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import editor
from deploy.reference.markdown import GENERATED, summary

HEAD = f"""# Python API

{GENERATED} The names below are the public API of the package `editor`; a change to them
has an entry in the changelog. Everything else in the package may change at any time.
"""
SECTIONS = ("Args", "Attributes", "Example", "Raises", "Returns", "Yields")
QUALIFIER = re.compile(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])")
ADDRESS = re.compile(r" at 0x[0-9a-f]+")
ROLE = re.compile(r":\w+:(?=`)")
"""Sphinx's roles, of which only the name is of use here."""
WIDTH = 100


def page() -> str:
    """Return the page."""
    names: list[str] = list(getattr(editor, "__all__", []))
    if not names:
        return f"{HEAD}\nNo name is public in this version.\n"
    return "\n".join([HEAD, *(_section(name, getattr(editor, name)) for name in names)])


def _section(name: str, member: Any) -> str:
    """One public name."""
    parts = [f"## {name}\n", f"```py\n{_declaration(name, member)}\n```\n", _prose(member)]
    if inspect.isclass(member) and issubclass(member, BaseModel):
        parts += _fields(member)
    if inspect.isclass(member):
        parts += _methods(member)
    return "\n".join(part for part in parts if part)


def _declaration(name: str, member: Any) -> str:
    """How it is called, one parameter a line where that is long."""
    if not callable(member):
        return f"{name}: {'Path' if isinstance(member, Path) else type(member).__name__}"
    if inspect.isclass(member) and issubclass(member, BaseModel):
        return f"class {name}(BaseModel)"
    keyword = "class " if inspect.isclass(member) else "async def " if inspect.iscoroutinefunction(member) else "def "
    try:
        signature = inspect.signature(member)
    except ValueError:
        return keyword + name
    text = _plain(keyword + name + str(signature))
    if len(text) <= WIDTH:
        return text
    parameters = "".join(f"    {_plain(str(one))},\n" for one in signature.parameters.values())
    returned = "" if signature.return_annotation is signature.empty else str(signature).rpartition(" -> ")[2]
    return f"{keyword}{name}(\n{parameters})" + (f" -> {_plain(returned)}" if returned else "")


def _plain(text: str) -> str:
    """Without modules and addresses, which are noise or differ between versions of Python."""
    return ADDRESS.sub("", QUALIFIER.sub("", text)).replace("'", '"').replace("(self, ", "(").replace("(self)", "()")


def _fields(model: type[BaseModel]) -> Iterator[str]:
    """Return the fields of a pydantic model, with their types as the source writes them."""
    for name, field in model.model_fields.items():
        annotation = inspect.formatannotation(field.annotation) if field.annotation else "Any"
        required = ", required" if field.is_required() else ""
        yield f"- `{name}: {_plain(annotation)}`{required}. {field.description or ''}".rstrip() + "\n"


def _methods(member: type) -> Iterator[str]:
    """The public methods and properties that a class defines itself."""
    for name, value in vars(member).items():
        target = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        if name.startswith("_") or not summary(target):
            continue
        if isinstance(value, property):
            yield f"- `{name}` (property): {summary(value)}\n"
        elif inspect.isfunction(target):
            yield f"- `{_plain(name + str(inspect.signature(target)))}`: {summary(target)}\n"


def _prose(member: Any) -> str:
    """The docstring, with its sections as lists."""
    if not callable(member):
        return ""
    lines, out = (inspect.getdoc(member) or "").splitlines(), []
    section = ""
    for line in lines:
        if line.rstrip(":") in SECTIONS and line.endswith(":"):
            section = line.rstrip(":")
            out += ["", f"**{section}**", ""]
        elif section and section != "Example":
            out.append(_entry(section, line))
        else:
            out.append(line)
    text = ROLE.sub("", "\n".join(out)).strip()
    return re.sub(r"\n{3,}", "\n\n", text) + "\n"


def _entry(section: str, line: str) -> str:
    """A line of a section: the first of an entry becomes an item of a list."""
    named = re.match(r"    (\*{0,2}\w+): ?(.*)", line)
    if named and section not in ("Returns", "Yields"):
        return f"- `{named[1]}`: {named[2]}"
    return f"  {line.strip()}" if line.strip() and section not in ("Returns", "Yields") else line.strip()
