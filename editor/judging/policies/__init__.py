"""Named policies: an organisation's gates, one TOML or JSON file each.

Some come with the package; ``EXPUNGE_POLICIES`` names a folder with more, whose files take precedence.
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


def resolve_policy(options: Validation) -> Policy:
    """Return the policy that decides a request; the request's ``publish_policy`` takes precedence over the policy's.

    Raises:
        PolicyError: the policy does not exist, its file is invalid, or it has a gate for which the request has no prompts.
    """
    policy = load_policy(options.policy) if options.policy else policy_from_request(options)
    if options.policy or options.gates:
        check_retain_prompts(policy, options)
    return policy.model_copy(update={"publish_policy": options.publish_policy or policy.publish_policy})


def check_retain_prompts(policy: Policy, options: Validation) -> None:
    """Refuse gates on retained prompts if the request has none, because a gate without observations would not be decided."""
    retain_gates = [gate.measure for gate in policy.gates if gate.measure.startswith("retain")]
    if retain_gates and options.retain_prompts == 0:
        raise PolicyError(
            f"The gate {retain_gates[0]} needs retained prompts, but retain_prompts is 0.",
            field="validation.retain_prompts",
            remedy="Leave retain_prompts out, or choose a policy without retain gates.",
        )


def policy_folders() -> list[Path]:
    """Return the folders that policies are loaded from, the first taking precedence."""
    own = os.environ.get("EXPUNGE_POLICIES")
    return [*([Path(own)] if own else []), Path(__file__).parent]


def policy_files() -> dict[str, Path]:
    """Return the file of each policy by its name."""
    found = [
        path for folder in reversed(policy_folders()) for path in sorted(folder.glob("*")) if path.suffix in PARSERS
    ]
    return {path.stem: path for path in found}


def load_policy(name: str) -> Policy:
    """Load a policy by name. Raises PolicyError: it does not exist, or its file is invalid."""
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
            remedy="Correct the file; docs/explanation/validation.md describes the format.",
        ) from error
