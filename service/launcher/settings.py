"""Settings of `expunge up`, on top of those of the store."""

from pydantic import Field

from service.launcher.supervisor import HEALTHY_SECONDS
from service.store.settings import StoreSettings


class LauncherSettings(StoreSettings):
    """Read from `EXPUNGE_*` variables."""

    quick_worker: bool = Field(
        default=True,
        description="Whether `expunge up` runs a second worker, for dry runs, so that they need not wait for edits.",
    )
    healthy_seconds: float = Field(
        default=HEALTHY_SECONDS,
        ge=0,
        description="A process of `expunge up` that lived this long is not in a crash loop.",
    )
