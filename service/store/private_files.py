"""Files of the service are readable by its own user only, whoever made the folder that they are in."""

import os
from pathlib import Path

from api_schemas.errors import UsageError

PRIVATE_UMASK = 0o077
OWN_NAMES = (
    "expunge.db*",
    "broker",
    "broker/*",
    "logs",
    "logs/*",
    "blobs",
    "cache",
    "work",
    "signing",
    "secrets.key",
    "api-key",
    "lock",
)
"""Files and folders in the data folder that the service writes."""
REMEDY = "Pass a folder that this user can write to, with --data-dir or EXPUNGE_DATA_DIR."


def set_private_umask() -> None:
    """Create all files of this process and of its children with mode 0600, and folders with 0700."""
    os.umask(PRIVATE_UMASK)


def make_private_folder(folder: Path) -> None:
    """Create a folder with its parents, unless it exists. Raises `UsageError` if that fails or the folder is read-only."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"The folder {folder} cannot be created ({error.strerror}).", field="data_dir", remedy=REMEDY
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"The folder {folder} is not writable.", field="data_dir", remedy=REMEDY)


def restrict_existing(data_dir: Path) -> None:
    """Withdraw access of other users from files that an earlier version or another umask has made accessible."""
    for path in (found for name in OWN_NAMES for found in data_dir.glob(name)):
        mode = path.stat().st_mode
        if mode & PRIVATE_UMASK and not path.is_symlink():
            path.chmod(mode & ~PRIVATE_UMASK & 0o7777)
