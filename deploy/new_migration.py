"""Generate a database migration: `python deploy/new_migration.py "what changes"`."""

import argparse
import tempfile
from pathlib import Path

from alembic import command

from service.store.database import Database, sqlite_url
from service.store.migrations.runner import SCRIPT_FOLDER, script_config


def main() -> None:
    """Compare a database at the latest migration with the ORM tables, and write a migration for the difference."""
    parser = argparse.ArgumentParser(prog="python deploy/new_migration.py", description=__doc__)
    parser.add_argument("message", help="What changes, in a few words.")
    message = parser.parse_args().message
    with tempfile.TemporaryDirectory() as folder:
        database = Database(sqlite_url(Path(folder) / "expunge.db"))
        database.prepare()
        with database.engine.begin() as connection:
            config = script_config(connection)
            number = len(list((SCRIPT_FOLDER / "versions").glob("v*.py"))) + 1
            command.revision(config, message, autogenerate=True, rev_id=f"{number:04}")


if __name__ == "__main__":
    main()
