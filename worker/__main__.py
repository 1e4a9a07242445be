"""`python -m worker`: run until SIGTERM."""

from service.store import logs
from service.store.process import run_process
from worker.app import create_app, node_name
from worker.settings import WorkerSettings


def main() -> None:
    """Run a Celery worker with the configured queues."""
    settings = WorkerSettings()
    logs.configure_process(settings)
    options = ["--hostname", node_name(settings), "--queues", settings.queues]
    create_app(settings).worker_main(["--quiet", "worker", *options, "--without-gossip", "--without-mingle"])


if __name__ == "__main__":
    run_process(main)
