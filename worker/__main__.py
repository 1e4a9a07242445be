"""`python -m worker`: run until SIGTERM. `python -m worker --once JOB`: run one job."""

import argparse

from api_schemas.errors import WRONG_INPUT
from service.store import logs
from service.store.process import run_process
from worker.app import create_app, node_name
from worker.once import DONE, REFUSED, RETRY, run_once
from worker.presence import report_presence
from worker.settings import WorkerSettings


def main() -> None:
    """Run a Celery worker with the configured queues, or a single job."""
    arguments = _parse_arguments()
    settings = WorkerSettings()
    logs.configure_process(settings)
    if arguments.once:
        raise SystemExit(run_once(settings, arguments.once))
    options = ["--hostname", node_name(settings), "--queues", settings.queues]
    with report_presence(settings, settings.database()):
        create_app(settings).worker_main(["--quiet", "worker", *options, "--without-gossip", "--without-mingle"])


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m worker",
        description="Run the jobs of the queues until SIGTERM, or one job with --once.",
        epilog=f"Exit code with --once: {DONE} the job has ended; {REFUSED} it failed for good; {RETRY} start it again later; "
        f"{WRONG_INPUT} a setting or the id is wrong.",
    )
    parser.add_argument("--once", metavar="JOB", help="Run the job with this id, and exit.")
    return parser.parse_args()


if __name__ == "__main__":
    run_process(main)
