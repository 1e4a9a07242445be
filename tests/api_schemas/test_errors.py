"""The exception tree: documented completely, with unique codes."""

from collections.abc import Iterator

import service.errors
import service.launcher.errors
import service.store.errors
import worker.errors
from api_schemas import errors, problems
from api_schemas.errors import ExpungeError

MODULES = (errors, problems, service.errors, service.store.errors, service.launcher.errors, worker.errors)


def class_tree(root: type[ExpungeError]) -> Iterator[type[ExpungeError]]:
    for branch in root.__subclasses__():
        if branch.__module__ in {module.__name__ for module in MODULES}:
            yield branch
            yield from class_tree(branch)


def test_docstring_lists_every_error() -> None:
    assert errors.__doc__
    assert [error.__name__ for error in class_tree(ExpungeError) if error.__name__ not in errors.__doc__] == []


def test_error_codes_are_unique() -> None:
    codes = [error.code for error in class_tree(ExpungeError) if "code" in vars(error)]
    assert sorted(codes) == sorted(set(codes))
