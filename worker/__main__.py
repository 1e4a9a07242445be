"""`python -m worker`: run until SIGTERM."""

from service.store import logs
from service.store.process import run_process
from worker.app import create_app
from worker.settings import WorkerSettings


def main() -> None:
    """Run a Celery worker with the configured queues."""
    settings = WorkerSettings()
    logs.configure(settings)
    queues = ["--queues", settings.queues]
    create_app(settings).worker_main(["worker", *queues, "--without-gossip", "--without-mingle", "--loglevel=INFO"])


if __name__ == "__main__":
    run_process(main)
