"""Brings a database to the schema of this version. Each step is a file in versions/, named NNNN_what.py."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from greenroom.errors import StorageError

FOLDER = Path(__file__).parent
# Any fixed number: two starting processes must not migrate one Postgres database at the same time.
_ADVISORY_LOCK = 0x67726E72


def head() -> str:
    """The newest revision that this version of Greenroom knows."""
    return max(revisions())


def revisions() -> list[str]:
    """Every known revision, oldest first, read off the file names: starting up imports no alembic."""
    return sorted(file.name.split("_")[0] for file in (FOLDER / "versions").glob("[0-9]*_*.py"))


def upgrade(engine: Engine) -> None:
    """Create or upgrade the schema in one transaction; does nothing when it is up to date.

    Raises StorageError when the database was made by a newer Greenroom.
    """
    with engine.connect() as connection:
        if revision(connection) == head():
            return
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        elif engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        # Asked again, now that nobody else can change it.
        if revision(connection) != head():
            _run(connection)
        connection.commit()


def revision(connection: Connection) -> str | None:
    """The revision of this database, None when it is empty.

    Raises StorageError when it is from a newer Greenroom.
    """
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found is not None and found not in revisions():
        raise StorageError(
            f"This database was made by a newer Greenroom (revision {found}; this one knows up to {head()}). "
            "Update Greenroom, or set GREENROOM_HOME to another folder."
        )
    return found


def _run(connection: Connection) -> None:
    # Imported here: only a database that needs a change pays for loading alembic.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
