"""Commands as a script meets them."""

import json
from typing import Any

from typer.testing import CliRunner

from api_schemas.cli.main import error_record, root
from api_schemas.errors import ExpungeError


def run(*arguments: object) -> Any:
    """What a command prints with ``--json``; its error where it refuses."""
    result = CliRunner().invoke(root, [*map(str, arguments), "--json"])
    if isinstance(result.exception, ExpungeError):
        return {"error": error_record(result.exception)}
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)
