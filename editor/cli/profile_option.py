"""The option of a profile that is used instead of the model's own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api_schemas.errors import UsageError

if TYPE_CHECKING:
    from editor.prompts import Profile

ProfileFile = Annotated[
    Path | None,
    typer.Option(
        "--profile",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="Use this profile instead of the model's: what it can generate, and in which words.",
    ),
]


def read_profile_option(profile: Path | None, ledger: Path | None = None) -> "Profile | None":
    """Return the profile of the option; None without one.

    Raises:
        UsageError: it is combined with a ledger, whose removals are all computed with the model's own profile.
        CheckpointError: the file is not a valid profile.
    """
    if profile is None:
        return None
    if ledger:
        raise UsageError(
            "--profile can't be combined with a ledger, which uses the model's own profile.",
            field="profile",
            remedy="Copy the profile to expunge.json in the model's folder.",
        )
    from editor.prompts.profile import read_profile

    return read_profile(profile)
