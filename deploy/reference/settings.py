"""The settings reference: every ``EXPUNGE_*`` variable, of the settings classes and others."""

from collections.abc import Iterator

from deploy.reference.markdown import GENERATED, code, table
from service.launcher.settings import LauncherSettings
from service.settings import ServiceSettings
from service.store.setting_errors import describe_form, format_default, variable_name
from service.store.settings import StoreSettings
from worker.settings import WorkerSettings

HEAD = f"""# Settings

{GENERATED}

Every setting is an environment variable. A process that finds a value that it cannot use names the setting and does not start.
Lists and mappings are written as JSON.
"""
SECTIONS = {
    "Every process of the service": StoreSettings,
    "The API": ServiceSettings,
    "Workers": WorkerSettings,
    "`expunge up`": LauncherSettings,
}
OTHERS = {
    "EXPUNGE_API_KEY": "`expunge edit`: the API key itself, before `EXPUNGE_API_KEY_FILE`.",
    "EXPUNGE_API_KEY_FILE": "`expunge edit`: a file with the API key.",
    "EXPUNGE_CACHE": "`expunge erase`: where images of unedited models are cached.",
    "EXPUNGE_COMPILE": "Whether the denoiser is compiled with `torch.compile`: slow to start, faster over hundreds of images.",
    "EXPUNGE_DEVICE": "The device that models run on: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`. Default: the fastest.",
    "EXPUNGE_FAULTS": "Tests only: a socket that decides at each failpoint whether the process stops there.",
    "EXPUNGE_JUDGE": "The folder of the judge: a CLIP or SigLIP of transformers with its tokenizer. Empty: the embedded judge, "
    "which recognizes emoji only.",
    "EXPUNGE_MEMORY": "Ceiling for the memory of activations, such as `8GB`. Default: what the device has.",
    "EXPUNGE_OFFLOAD": "Which weights wait in the CPU's memory: `none`, `model` (all but the running component) or "
    "`sequential` (all but the running module).",
    "EXPUNGE_PEERS_PYTHON": "`expunge bench sae`: a Python interpreter with other SAE packages; `make peers` creates one.",
    "EXPUNGE_POLICIES": "A folder of policies (TOML or JSON) in addition to the built-in ones.",
    "EXPUNGE_PRECISION": "The precision of matrix products: `auto`, `float32`, `bfloat16` or `float16`. Default: bfloat16 "
    "where the device multiplies it natively; else float32 on a CPU and float16 on a GPU.",
    "EXPUNGE_SIGNING_KEY": "The private signing key itself (PEM), before `EXPUNGE_SIGNING_DIR`.",
    "EXPUNGE_TLS_CERTIFICATE": "`expunge up`: a PEM file; with it the API listens with TLS.",
    "EXPUNGE_TLS_KEY": "`expunge up`: the PEM file with the key of that certificate.",
    "EXPUNGE_TRUSTED_KEYS": "`expunge verify`: the public keys to trust, as `expunge keys export` prints them.",
    "EXPUNGE_URL": "`expunge edit`: the URL of the service.",
    "EXPUNGE_VAE_TILING": "Whether large images are decoded tile by tile, which takes less memory.",
    "EXPUNGE_VARIANT": "The variant of a model's weights to read and edit, such as `fp16`, if a folder has several. "
    "Default: the plain files, else the first variant.",
    "EXPUNGE_WARM_MEMORY": "The weights that a worker may keep in memory between jobs on one base model, such as `8GB`; `0`: "
    "none. Default: half of the GPU's memory, or of the machine's on a CPU or with `EXPUNGE_OFFLOAD`.",
    "REDIS_URL": "`expunge up`: a running Redis-protocol server. Empty: one that `expunge up` starts.",
}
"""Variables that are not in a settings class."""


def page() -> str:
    """Return the page."""
    header = ("variable", "type", "default", "meaning")
    parts = [f"## {title}\n\n{table(header, _rows(settings))}" for title, settings in SECTIONS.items()]
    others = table(("variable", "meaning"), ((code(name), meaning) for name, meaning in OTHERS.items()))
    return "\n".join([HEAD, *parts, f"## Other variables\n\n{others}"])


def _rows(settings: type[StoreSettings]) -> Iterator[tuple[str, str, str, str]]:
    """Yield the settings of a class that its base class does not have."""
    inherited = {} if settings is StoreSettings else StoreSettings.model_fields
    for name, field in settings.model_fields.items():
        if name not in inherited:
            kind, default = describe_form(field).text, format_default(field.default)
            yield code(variable_name(name)), kind, code(default), field.description or ""
