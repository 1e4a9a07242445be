"""Settings of `expunge up`, in addition to those of the store."""

from pydantic import Field

from service.launcher.supervisor import HEALTHY_SECONDS
from service.store.settings import StoreSettings


class LauncherSettings(StoreSettings):
    """Settings that are read from `EXPUNGE_*` variables."""

    quick_worker: bool = Field(
        default=True,
        description="Run a second worker for dry runs, so that they do not wait for edits.",
    )
    healthy_seconds: float = Field(
        default=HEALTHY_SECONDS,
        ge=0,
        description="Run time in seconds after which a process no longer counts as crash-looping.",
    )
