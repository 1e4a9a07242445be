"""Check every setting before a process is started: the launcher's, and those of all the processes that it starts."""

import os
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.machinery import PathFinder
from pathlib import Path

from api_schemas.errors import ExpungeError, UsageError
from service.core.cases.bases import load_rules
from service.launcher.settings import LauncherSettings
from service.settings import ServiceSettings
from service.store.errors import InvalidSettings
from service.store.setting_errors import HIDDEN, describe_problem, variable_name
from service.store.setting_types import Form, validate_broker_url
from service.store.settings import StoreSettings

WORKER_SETTINGS = "worker.settings:WorkerSettings"
DEVICE_PARSERS = "editor.generation.device:PARSERS"
"""Loaded by name: the service does not depend on worker and editor, it only starts them."""
MODULE_SETTINGS = ("editor", "revoker", "planner", "calibrator", "previewer", "registrar", "carrier")
DRIVERS = {"database_url": ("postgres", "psycopg"), "blobs_url": ("s3://", "obstore")}
"""Settings whose values with a prefix need a package of the extra `scaleout`."""


def check_settings(data_dir: Path, environment: Mapping[str, str] = os.environ) -> None:
    """Check the settings of all processes. Raises `InvalidSettings` with every problem."""
    worker: type[StoreSettings] = pkgutil.resolve_name(WORKER_SETTINGS)
    classes = (ServiceSettings, worker, LauncherSettings)
    problems: dict[str, str] = {}
    for settings in classes:
        try:
            problems |= _check_machine(settings(data_dir=data_dir))
        except InvalidSettings as error:
            problems |= error.problems
    problems |= _check_other_variables(environment)
    if problems:
        raise InvalidSettings(problems)


def _check_machine(settings: StoreSettings) -> dict[str, str]:
    """Return what this machine lacks: folders, modules and packages that the settings name."""
    checks = (_missing_folders, _missing_models, _missing_modules, _missing_drivers, _wrong_bases)
    found = (problem for check in checks for problem in check(settings))
    return {variable_name(name): describe_problem(variable_name(name), shown, form) for name, shown, form in found}


Problems = Iterator[tuple[str, object, Form]]


def _missing_folders(settings: StoreSettings) -> Problems:
    for name in ("signing_dir", "models_dir"):
        folder = getattr(settings, name)
        if folder is not None and not folder.is_dir():
            yield name, folder, Form("the path of an existing folder", "/srv/expunge")
    if (hub := settings.hub_dir) is not None and not (hub.is_dir() or (hub.parent.is_dir() and not hub.exists())):
        yield "hub_dir", hub, Form("the path of a folder, or of a new one in an existing folder", "/srv/expunge/hub")
    for folder in settings.model_roots:
        if not folder.is_dir():
            yield "model_roots", folder, Form("paths of existing folders", '["/srv/models"]')


def _missing_models(settings: StoreSettings) -> Problems:
    for path in settings.models.values():
        if not (path / "model_index.json").is_file() and not path.is_file():
            form = "diffusers folders, which have a model_index.json, or safetensors files"
            yield "models", path, Form(form, '{"sd15": "/srv/sd15"}')


def _missing_modules(settings: StoreSettings) -> Problems:
    for name in MODULE_SETTINGS:
        if (module := getattr(settings, name, None)) and not _is_importable(module):
            yield name, module, Form("the name of an installed module", type(settings).model_fields[name].default)


def _wrong_bases(settings: StoreSettings) -> Problems:
    if isinstance(settings, ServiceSettings) and settings.case_bases:
        try:
            load_rules(settings.case_bases)
        except UsageError as error:
            yield (
                "case_bases",
                settings.case_bases,
                Form(f"a valid file of bases ({error.message})", "/etc/expunge/bases.toml"),
            )


def _missing_drivers(settings: StoreSettings) -> Problems:
    for name, (prefix, package) in DRIVERS.items():
        if getattr(settings, name).startswith(prefix) and not _is_importable(package):
            yield (
                name,
                HIDDEN,
                Form("a URL whose driver is installed (pip install 'expunge[scaleout]'), or nothing", ""),
            )


def _is_importable(module: str) -> bool:
    """Return whether a module is installed. Its packages are not imported, because those of the editor load torch."""
    folders: Sequence[str] | None = None
    spec = None
    for part in module.split("."):
        spec = PathFinder.find_spec(part, folders)
        folders = list(spec.submodule_search_locations or ()) if spec else []
    return spec is not None


def _is_private_key(pem: str) -> bool:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return bool(load_pem_private_key(pem.encode(), None))
    except (TypeError, ValueError):
        return False


def _is_broker_url(url: str) -> bool:
    try:
        return bool(validate_broker_url(url))
    except ValueError:
        return False


def _is_folder(path: str) -> bool:
    return Path(path).expanduser().is_dir()


def _is_device_setting(name: str) -> Callable[[str], bool]:
    """Return a check of a setting of the device that models run on, with the editor's own parser."""

    def is_valid(text: str) -> bool:
        try:
            pkgutil.resolve_name(DEVICE_PARSERS)[name](name, text)
        except ExpungeError:
            return False
        return True

    return is_valid


_DEVICE_FORMS = {
    "device": Form("auto, cpu, cuda, cuda:N or mps", "auto"),
    "precision": Form("auto, float32, bfloat16 or float16", "auto"),
    "offload": Form("none, model or sequential", "none"),
    "vae_tiling": Form("true or false", "false"),
    "memory": Form("an amount of memory", "8GB"),
    "warm_memory": Form("an amount of memory, or 0", "8GB"),
    "compile": Form("true or false", "false"),
}
_FOLDER = Form("the path of an existing folder", "/srv/expunge")
_OTHER_VARIABLES: dict[str, tuple[Callable[[str], bool], Form, bool]] = {
    "REDIS_URL": (_is_broker_url, Form("the URL of a Redis-protocol server", "redis://127.0.0.1:6379/0"), True),
    "EXPUNGE_SIGNING_KEY": (_is_private_key, Form("a private key in PEM", "'-----BEGIN PRIVATE KEY-----…'"), True),
    "EXPUNGE_JUDGE": (_is_folder, _FOLDER, False),
    "EXPUNGE_POLICIES": (_is_folder, _FOLDER, False),
    **{variable_name(name): (_is_device_setting(name), form, False) for name, form in _DEVICE_FORMS.items()},
}
"""Variables that belong to no settings class, with their check, their form, and whether they may contain a secret."""


def _check_other_variables(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: describe_problem(name, HIDDEN if hidden else environment[name], form)
        for name, (is_valid, form, hidden) in _OTHER_VARIABLES.items()
        if environment.get(name) and not is_valid(environment[name])
    }
