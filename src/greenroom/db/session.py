"""Opens the database, upgrades its schema, and hands out sessions. Knows no tables by name.

On SQLite a transaction begins at the first write, with the write lock, and reads before it see whatever is
committed at that moment: the very rules of READ COMMITTED on Postgres. So a service may read, work for a
minute, and then write, without keeping others from writing meanwhile and without failing because others did.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import Session

from greenroom.db import migrations
from greenroom.errors import GreenroomError, StorageError
from greenroom.settings import Settings

BUSY_TIMEOUT_S = 30
_WRITES = ("INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "DROP", "SAVEPOINT", "REPLACE")


def engine(settings: Settings) -> Engine:
    """The engine of these settings, its schema upgraded; made once in a process for each database URL.

    Raises StorageError when the database cannot be opened or was made by a newer Greenroom.
    """
    return _engine(settings.database, settings)


@contextmanager
def session(settings: Settings) -> Iterator[Session]:
    """A session that commits at exit and rolls back on any error.

    Objects stay readable after the commit. Database trouble leaves as StorageError.
    """
    with storage_errors(), Session(engine(settings), expire_on_commit=False) as opened, opened.begin():
        yield opened


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn what a database says about its disk or its server into one sentence for a person."""
    try:
        yield
    except GreenroomError:
        raise
    except DBAPIError as error:
        sentence = _storage_sentence(error)
        if sentence is None:
            raise
        raise StorageError(sentence) from error


def _storage_sentence(error: DBAPIError) -> str | None:
    said = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
    low = said.lower()
    if "readonly" in low or "read-only" in low:
        return f"The database cannot be written ({said}). Unlock its folder or set GREENROOM_HOME."
    if "disk is full" in low or "no space left" in low or "disk full" in low:
        return f"The disk is full ({said}). Free some space and do it again; what was saved before is kept."
    if "locked" in low:
        return f"The database stayed busy for {BUSY_TIMEOUT_S} seconds ({said}). Do it again in a moment."
    if isinstance(error, OperationalError | InterfaceError):
        return f"The database cannot be used ({said}). Check GREENROOM_HOME and GREENROOM_DATABASE_URL."
    if "not a database" in low or "malformed" in low:
        return f"The database file is damaged ({said}). Put a backup in its place, or move it away."
    return None


@lru_cache(maxsize=8)
def _engine(url: str, settings: Settings) -> Engine:
    if make_url(url).get_backend_name() == "sqlite":
        settings.make_home()
    made = create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
    if made.dialect.name == "sqlite":
        event.listen(made, "connect", _prepare_sqlite)
        event.listen(made, "before_cursor_execute", _begin_at_first_write)
    with storage_errors():
        migrations.upgrade(made)
    return made


def _prepare_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = (
        None  # the driver opens no transactions by itself: _begin_at_first_write does
    )
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")
    cursor.execute("PRAGMA foreign_keys = ON")
    # NOTE: journal_mode writes to the file, so it is asked for only where it is not yet WAL.
    if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def _begin_at_first_write(_: Any, cursor: sqlite3.Cursor, statement: str, *rest: Any) -> None:
    if not cursor.connection.in_transaction and statement.lstrip().upper().startswith(_WRITES):
        cursor.execute("BEGIN IMMEDIATE")


def database_file(settings: Settings) -> Path | None:
    """The SQLite file, or None on a database server."""
    url = make_url(settings.database)
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None
