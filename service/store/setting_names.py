"""Names of settings: which `EXPUNGE_*` variables exist, and which others are misspellings of them."""

import pkgutil
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches

PREFIX = "EXPUNGE_"
SETTINGS_CLASSES = (
    "service.settings:ServiceSettings",
    "worker.settings:WorkerSettings",
    "service.launcher.settings:LauncherSettings",
)
"""Loaded by name: every process has the environment of all, but does not depend on their code."""

COMMAND_VARIABLES = (
    "API_KEY", "API_KEY_FILE", "CACHE", "COMPILE", "DEVICE", "FAULTS", "JUDGE", "MEMORY", "OFFLOAD", "PEERS_PYTHON", "POLICIES",
    "PRECISION", "SIGNING_KEY", "TLS_CERTIFICATE", "TLS_KEY", "TRUSTED_KEYS", "URL", "VAE_TILING", "VARIANT", "WARM_MEMORY",
)  # fmt: skip
"""Variables of commands and of the editor, which no settings class has, without their prefix."""
KUBERNETES_VARIABLE = re.compile(r"(\w+_)?(SERVICE_(HOST|PORT\w*)|PORT(_\d+_\w+)?)")
"""What Kubernetes sets in every container for a service that is named ``expunge``, without the prefix."""
SIMILARITY = 0.75
"""Two names that are at least as similar are a name and its misspelling."""


def misspelled_variables(environment: Mapping[str, str], known: Sequence[str]) -> dict[str, str]:
    """Return a sentence for each variable whose name is nearly that of a setting of any process.

    Args:
        environment: the variables.
        known: fields of the settings class that reads them. The others are loaded only for names that are not among these.
    """
    unknown = [*_unknown_names(environment, [*map(str.upper, known), *COMMAND_VARIABLES])]
    if not unknown:
        return {}
    names = [*_names_of_all_settings(), *COMMAND_VARIABLES]
    similar = ((name, get_close_matches(name, names, n=1, cutoff=SIMILARITY)) for name in unknown if name not in names)
    return {
        PREFIX + name: f"{PREFIX}{name} is not a setting; did you mean {PREFIX}{near[0]}?"
        for name, near in similar
        if near
    }


def _unknown_names(environment: Mapping[str, str], known: Sequence[str]) -> Iterator[str]:
    given = (name.removeprefix(PREFIX) for name in environment if name.startswith(PREFIX))
    return (name for name in given if name not in known and not KUBERNETES_VARIABLE.fullmatch(name))


def _names_of_all_settings() -> Iterator[str]:
    return (name.upper() for one in SETTINGS_CLASSES for name in pkgutil.resolve_name(one).model_fields)
