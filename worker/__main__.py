"""`python -m worker`: run until SIGTERM."""

import logging

from worker.app import create_app
from worker.settings import WorkerSettings


def main() -> None:
    """A Celery worker with our settings."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = WorkerSettings()
    queues = ["--queues", settings.queues]
    create_app(settings).worker_main(["worker", *queues, "--without-gossip", "--without-mingle", "--loglevel=INFO"])


if __name__ == "__main__":
    main()
