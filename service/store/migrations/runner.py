"""Bringing a database to the schema of this version of Expunge, with Alembic.

All steps run in one transaction on both engines: an upgrade that is cut off has not happened.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from service.store.encryption import SecretBox
from service.store.errors import IncompatibleStore, SecretsKeyError

SecretBoxFactory = Callable[[], SecretBox]
"""Asked only where there are secrets. Raises `SecretsKeyError`."""

SCRIPT_FOLDER = Path(__file__).parent
BEFORE_ALEMBIC = ("store_version", 2, "0001")
"""The table, and the number in it, that said what `0001` says, before there were migrations."""
UPGRADE_LOCK = 0x65787075
"""A number for PostgreSQL's advisory lock: two API processes that start at once upgrade one after the other."""


def script_config(connection: Connection, secret_box: SecretBoxFactory | None = None) -> Config:
    """Alembic's configuration: our folder and an open connection, no file."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPT_FOLDER))
    config.set_main_option("path_separator", "os")
    config.set_main_option("file_template", "v%%(rev)s_%%(slug)s")
    config.attributes |= {"connection": connection, "secret_box": secret_box}
    return config


@cache
def head() -> str:
    """The revision that this version of Expunge needs."""
    found = ScriptDirectory(str(SCRIPT_FOLDER)).get_current_head()
    assert found, "there is one line of migrations"
    return found


def current(connection: Connection) -> str | None:
    """The revision that a database has; None is an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def secret_box_of(context: MigrationContext) -> SecretBox:
    """What a step seals secrets with, and opens them. Raises `SecretsKeyError`."""
    assert context.config
    get: SecretBoxFactory | None = context.config.attributes["secret_box"]
    if get is None:
        raise SecretsKeyError("the database has secrets.", remedy="Run: expunge db upgrade")
    return get()


def upgrade(connection: Connection, revision: str = "head", secret_box: SecretBoxFactory | None = None) -> None:
    """Run the steps that are missing, in the transaction of `connection`.

    Raises:
        IncompatibleStore: a newer version of Expunge has written the database.
        SecretsKeyError: there are secrets to seal, and no key.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": UPGRADE_LOCK})
    _adopt_unversioned(connection)
    _refuse_unknown(connection)
    command.upgrade(script_config(connection, secret_box), revision)


def downgrade(connection: Connection, revision: str, secret_box: SecretBoxFactory | None = None) -> None:
    """Take steps back, down to `revision`; `base` is an empty database. Raises `SecretsKeyError`."""
    command.downgrade(script_config(connection, secret_box), revision)


def _adopt_unversioned(connection: Connection) -> None:
    """A database from before there were migrations has the schema of the first."""
    table, version, revision = BEFORE_ALEMBIC
    if not inspect(connection).has_table(table):
        return
    found = connection.scalar(text(f"SELECT version FROM {table}"))
    if found != version:
        raise IncompatibleStore(
            f"the store has schema {found}, which no migration starts from.", remedy="Use another data folder."
        )
    connection.execute(text(f"DROP TABLE {table}"))
    command.stamp(script_config(connection), revision)


def _refuse_unknown(connection: Connection) -> None:
    found = current(connection)
    known = {script.revision for script in ScriptDirectory(str(SCRIPT_FOLDER)).walk_revisions()}
    if found is not None and found not in known:
        raise IncompatibleStore(
            f"the database has revision {found}, this version of Expunge knows up to {head()}.",
            remedy="Use the version that wrote it, or another data folder.",
        )
