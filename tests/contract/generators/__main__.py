"""Generate clients from the contract with three generators and use each against a running service.

    python -m tests.contract.generators [--environment build/generators]

`make generators` creates the environment. Each `use_<generator>.py` runs in it, next to the code that was generated.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.contract.live import LiveService, live_service

GENERATORS = {
    "openapi_python_client": "openapi-python-client generate --url {url}/openapi.json --output-path generated --meta none",
    "openapi_generator": "openapi-generator-cli generate -i {url}/openapi.json -g python -o .",
    "datamodel_code_generator": (
        "datamodel-codegen --url {url}/openapi.json --allow-private-network --input-file-type openapi"
        " --output generated.py --output-model-type pydantic_v2.BaseModel --formatters builtin"
    ),
}
EXPECTED = {
    "edit": "succeeded",
    "read": "fox",
    "plan": "plan",
    "batch": 1,
    "report": "passed",
    "problem": "unauthorized",
}
"""What each client reports: fields of the resources that it created and read."""


def use(name: str, live: LiveService, environment: Path) -> dict[str, object]:
    """Generate a client, run its script and return what that printed. Raises `CalledProcessError`."""
    programs = environment.absolute() / "bin"
    variables = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": "."}
    with tempfile.TemporaryDirectory() as folder:
        command = GENERATORS[name].format(url=live.url).split()
        subprocess.run(command, cwd=folder, env=variables, check=True, capture_output=True, text=True)
        script = [str(programs / "python"), str(Path(__file__).with_name(f"use_{name}.py")), live.url, live.key]
        done = subprocess.run(script, cwd=folder, env=variables, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    """Use every generated client; exit with 1 if one failed or read something else than expected."""
    parser = argparse.ArgumentParser(prog="python -m tests.contract.generators")
    parser.add_argument("--environment", type=Path, default=Path("build/generators"))
    options, failed = parser.parse_args(), False
    for name in GENERATORS:
        with live_service() as live:
            try:
                found = use(name, live, options.environment)
            except subprocess.CalledProcessError as error:
                found = {"error": f"{error}\n{error.stdout}\n{error.stderr}"}
        failed |= found != EXPECTED
        sys.stdout.write(f"{name}: {'ok' if found == EXPECTED else found}\n")
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
