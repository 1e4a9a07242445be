"""One tree, all of it drawn where it begins, and no two leaves with one code."""

from collections.abc import Iterator

import service.errors
import service.launcher.errors
import service.store.errors
import worker.errors
from api_schemas import errors, problems
from api_schemas.errors import ExpungeError

MODULES = (errors, problems, service.errors, service.store.errors, service.launcher.errors, worker.errors)


def tree(root: type[ExpungeError]) -> Iterator[type[ExpungeError]]:
    for branch in root.__subclasses__():
        if branch.__module__ in {module.__name__ for module in MODULES}:
            yield branch
            yield from tree(branch)


def test_docstring_lists_every_error() -> None:
    assert errors.__doc__
    assert [error.__name__ for error in tree(ExpungeError) if error.__name__ not in errors.__doc__] == []


def test_error_codes_are_unique() -> None:
    codes = [error.code for error in tree(ExpungeError) if "code" in vars(error)]
    assert sorted(codes) == sorted(set(codes))
