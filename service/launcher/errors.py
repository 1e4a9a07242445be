"""Why the stack does not start. Part of the tree in `api_schemas.errors`."""

from api_schemas.errors import ExpungeError


class LaunchError(ExpungeError):
    """The stack cannot start, or cannot stay up."""

    code = "launch_failed"
