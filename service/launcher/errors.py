"""Errors of `expunge up`, part of the tree in `api_schemas.errors`."""

from api_schemas.errors import ExpungeError


class LaunchError(ExpungeError):
    """The service cannot start, or one of its processes keeps failing."""

    code = "launch_failed"
