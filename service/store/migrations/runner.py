"""Upgrades and downgrades a database with Alembic.

All steps run in one transaction on both engines, so an interrupted upgrade has no effect.
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
"""Called only if there are secrets. Raises `SecretsKeyError`."""

SCRIPT_FOLDER = Path(__file__).parent
BEFORE_ALEMBIC = ("store_version", 2, "0001")
"""Table, version and equivalent migration of databases that were created before there were migrations."""
UPGRADE_LOCK = 0x65787075
"""Key of the PostgreSQL advisory lock that serializes upgrades of API processes that start together."""


def script_config(connection: Connection, secret_box: SecretBoxFactory | None = None) -> Config:
    """Return an Alembic configuration for our scripts and an open connection."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPT_FOLDER))
    config.set_main_option("path_separator", "os")
    config.set_main_option("file_template", "v%%(rev)s_%%(slug)s")
    config.attributes |= {"connection": connection, "secret_box": secret_box}
    return config


@cache
def head() -> str:
    """Return the revision that this version of Expunge needs."""
    revision = ScriptDirectory(str(SCRIPT_FOLDER)).get_current_head()
    assert revision, "the migrations have a single head"
    return revision


def current(connection: Connection) -> str | None:
    """Return the revision of a database, or None if it is empty."""
    return MigrationContext.configure(connection).get_current_revision()


def secret_box_of(context: MigrationContext) -> SecretBox:
    """Return the keys for a step that encrypts or decrypts secrets. Raises `SecretsKeyError`."""
    assert context.config
    get: SecretBoxFactory | None = context.config.attributes["secret_box"]
    if get is None:
        raise SecretsKeyError("The database contains secrets.", remedy="Run: expunge db upgrade")
    return get()


def upgrade(connection: Connection, revision: str = "head", secret_box: SecretBoxFactory | None = None) -> None:
    """Run the missing steps in the transaction of `connection`.

    Raises:
        IncompatibleStore: the database was written by a newer version of Expunge.
        SecretsKeyError: there are secrets to encrypt and no key.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": UPGRADE_LOCK})
    _adopt_unversioned(connection)
    _refuse_unknown(connection)
    command.upgrade(script_config(connection, secret_box), revision)


def downgrade(connection: Connection, revision: str, secret_box: SecretBoxFactory | None = None) -> None:
    """Revert steps down to `revision`; `base` is an empty database. Raises `SecretsKeyError`."""
    command.downgrade(script_config(connection, secret_box), revision)


def _adopt_unversioned(connection: Connection) -> None:
    """Stamp a database from before there were migrations with the first revision."""
    table, version, revision = BEFORE_ALEMBIC
    if not inspect(connection).has_table(table):
        return
    schema = connection.scalar(text(f"SELECT version FROM {table}"))
    if schema != version:
        raise IncompatibleStore(
            f"No migration starts from schema {schema} of this database.", remedy="Use another data folder."
        )
    connection.execute(text(f"DROP TABLE {table}"))
    command.stamp(script_config(connection), revision)


def _refuse_unknown(connection: Connection) -> None:
    revision = current(connection)
    known = {script.revision for script in ScriptDirectory(str(SCRIPT_FOLDER)).walk_revisions()}
    if revision is not None and revision not in known:
        raise IncompatibleStore(
            f"The database has revision {revision}, but this version of Expunge supports revisions up to {head()}.",
            remedy="Use the version of Expunge that wrote it, or another data folder.",
        )
