"""Named policies: gates that an organisation goes by, one TOML or JSON file each.

Some come with the package; ``EXPUNGE_POLICIES`` names a folder with more. There a file of the same name takes precedence.
"""

import json
import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from api_schemas.edits import Validation
from api_schemas.gates import Policy
from editor.errors import PolicyError
from editor.judging.gates import policy_from_request

PARSERS = {".toml": tomllib.loads, ".json": json.loads}


def resolve_policy(asked: Validation) -> Policy:
    """The gates that decide a request, whichever way it says so; its own word on publishing goes before the policy's.

    Raises:
        PolicyError: there is no such policy, its file is not one, or it asks for what would not be drawn.
    """
    policy = load_policy(asked.policy) if asked.policy else policy_from_request(asked)
    if asked.policy or asked.gates:
        check_retain_prompts(policy, asked)
    return policy.model_copy(update={"publish_policy": asked.publish_policy or policy.publish_policy})


def check_retain_prompts(policy: Policy, asked: Validation) -> None:
    """Refuse gates that no prompt would answer: what is not measured must not pass unseen."""
    about_retain = [gate.measure for gate in policy.gates if gate.measure.startswith("retain")]
    if about_retain and asked.retain_prompts == 0:
        raise PolicyError(
            f"The gate {about_retain[0]} needs unrelated prompts, and retain_prompts is 0.",
            field="validation.retain_prompts",
            remedy="Leave retain_prompts out.",
        )


def policy_folders() -> list[Path]:
    """Where policies are looked for, in this order."""
    own = os.environ.get("EXPUNGE_POLICIES")
    return [*([Path(own)] if own else []), Path(__file__).parent]


def policy_files() -> dict[str, Path]:
    """Every policy's name and file."""
    found = [
        path for folder in reversed(policy_folders()) for path in sorted(folder.glob("*")) if path.suffix in PARSERS
    ]
    return {path.stem: path for path in found}


def load_policy(name: str) -> Policy:
    """One policy. Raises PolicyError: see :func:`policy_for`."""
    files = policy_files()
    if name not in files:
        known = ", ".join(sorted(files))
        raise PolicyError(
            f'There is no policy "{name}".',
            field="validation.policy",
            remedy=f"Choose from {known}, or add {name}.toml to the folder that EXPUNGE_POLICIES names.",
        )
    path = files[name]
    try:
        content: Any = PARSERS[path.suffix](path.read_text(encoding="utf-8"))
        return Policy.model_validate_json(json.dumps(content))
    except (ValueError, ValidationError) as error:
        raise PolicyError(
            f"{path} is not a valid policy: {error}.",
            field="validation.policy",
            remedy="See docs/validation.md.",
        ) from error
