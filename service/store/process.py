"""What the main functions of API, dispatcher and worker have in common."""

import sys
from collections.abc import Callable

from api_schemas.errors import FAILED, WRONG_INPUT, ExpungeError, UsageError
from service.store.private_files import set_private_umask


def run_process(main: Callable[[], object]) -> None:
    """Run the main function of a process, whose files are private.

    Our own errors become one line and an exit code, as for commands.
    """
    set_private_umask()
    try:
        main()
    except ExpungeError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(WRONG_INPUT if isinstance(error, UsageError) else FAILED) from error
