from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from greenroom.db import migrations
from greenroom.db import session as db
from greenroom.db.models import Actor, Job, JobKind, Table, Workspace, new_id, now
from greenroom.errors import StorageError, TooFewImages
from greenroom.settings import Settings


def test_the_schema_after_migrations_is_that_of_the_models(settings: Settings) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with db.engine(settings).connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Table.metadata) == []
        assert context.get_current_revision() == migrations.head()


def test_sqlite_runs_in_wal_with_foreign_keys_and_a_busy_timeout(session: Session) -> None:
    assert session.execute(text("PRAGMA journal_mode")).scalar() == "wal"
    assert session.execute(text("PRAGMA foreign_keys")).scalar() == 1
    assert session.execute(text("PRAGMA busy_timeout")).scalar() == 30_000


def test_a_session_commits_at_exit_and_rolls_back_on_error(settings: Settings) -> None:
    with db.session(settings) as session:
        session.add(Workspace(name="kept"))
    with pytest.raises(TooFewImages), db.session(settings) as session:  # noqa: PT012
        session.add(Workspace(name="lost"))
        session.flush()
        raise TooFewImages("")
    with db.session(settings) as session:
        assert session.scalars(select(Workspace.name)).all() == ["kept"]


def test_objects_stay_readable_after_the_session(settings: Settings) -> None:
    with db.session(settings) as session:
        made = Workspace(name="kept")
        session.add(made)
    assert made.id.startswith("wsp_")
    assert made.created_at.tzinfo is not None


def test_times_come_back_aware_in_utc(settings: Settings) -> None:
    moment = datetime(2026, 5, 1, 12, 30, 1, 5, tzinfo=UTC)
    with db.session(settings) as session:
        session.add(Workspace(name="x", created_at=moment + timedelta(0)))
    with db.session(settings) as session:
        assert session.scalars(select(Workspace.created_at)).one() == moment
    with pytest.raises(Exception, match="aware"), db.session(settings) as session:
        session.add(Workspace(name="y", created_at=datetime(2026, 5, 1)))  # noqa: DTZ001


def test_a_long_reader_keeps_no_writer_waiting_and_may_write_afterwards(settings: Settings) -> None:
    with db.session(settings) as slow:
        slow.scalars(select(Workspace)).all()
        with db.session(settings) as quick:
            quick.add(Workspace(name="quick"))
        slow.add(Workspace(name="slow"))
    with db.session(settings) as session:
        assert set(session.scalars(select(Workspace.name))) == {"quick", "slow"}


def test_two_writers_wait_for_one_another(settings: Settings) -> None:
    db.engine(settings)

    def write(name: str) -> None:
        for _ in range(20):
            with db.session(settings) as session:
                session.scalars(select(Workspace)).first()
                session.add(Workspace(name=name))

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with db.session(settings) as session:
        assert len(session.scalars(select(Workspace)).all()) == 60


def test_a_savepoint_undoes_only_its_own_part(settings: Settings) -> None:
    with db.session(settings) as session:
        session.add(Job(kind=JobKind.TRAIN, target_id="trn_a"))
        session.flush()
        with pytest.raises(IntegrityError), session.begin_nested():
            session.add(Job(kind=JobKind.TRAIN, target_id="trn_a"))
        session.add(Job(kind=JobKind.TRAIN, target_id="trn_b"))
    with db.session(settings) as session:
        assert set(session.scalars(select(Job.target_id))) == {"trn_a", "trn_b"}


def test_processes_that_start_together_make_one_schema(settings: Settings) -> None:
    code = (
        "from greenroom import settings; from greenroom.db import session as db\n"
        "from greenroom.studio import workspaces\n"
        "with db.session(settings.current()) as s: workspaces.default(s)"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    for child in children:
        _, said = child.communicate(timeout=60)
        assert child.returncode == 0, said
    with db.session(settings) as session:
        assert session.execute(text("SELECT count(*) FROM alembic_version")).scalar() == 1


def test_a_database_of_a_newer_version_is_refused(settings: Settings) -> None:
    with db.session(settings) as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    db._engine.cache_clear()
    with pytest.raises(StorageError, match="newer Greenroom"):
        db.engine(settings)


def test_a_damaged_database_is_one_sentence(settings: Settings) -> None:
    settings.make_home()
    (settings.home_folder / "greenroom.sqlite3").write_bytes(b"no database at all" * 300)
    with pytest.raises(StorageError, match="not a database"):
        db.engine(settings)


def test_a_full_disk_is_one_sentence_and_loses_nothing(settings: Settings) -> None:
    with db.session(settings) as session:
        session.add(Workspace(name="kept"))
    # SQLite itself says "database or disk is full" when it may not grow.
    with pytest.raises(StorageError, match="The disk is full"), db.session(settings) as session:  # noqa: PT012
        session.execute(text("PRAGMA max_page_count = 1"))
        session.add_all(Workspace(name="x" * 250) for _ in range(2_000))
    with db.session(settings) as session:
        session.execute(text("PRAGMA max_page_count = 100000000"))
        assert session.scalars(select(Workspace.name)).all() == ["kept"]


def test_a_read_only_database_is_one_sentence(settings: Settings) -> None:
    with db.session(settings) as session:
        session.add(Workspace(name="kept"))
    db.engine(settings).dispose()
    with sqlite3.connect(settings.home_folder / "greenroom.sqlite3") as raw:
        raw.execute("PRAGMA journal_mode = DELETE")
    read_only = Settings(
        home=settings.home,
        database_url=f"sqlite:///file:{settings.home_folder}/greenroom.sqlite3?mode=ro&uri=true",
    )
    with pytest.raises(StorageError, match="cannot be written") as caught, db.session(read_only) as session:
        session.add(Workspace(name="lost"))
    assert "\n" not in str(caught.value)


def test_a_read_only_home_is_one_sentence(tmp_path: Path) -> None:
    """On a real read-only file system, where this machine lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.system(f"mount -t tmpfs -o ro tmpfs '{disk}' 2>/dev/null") != 0:
        pytest.skip("mounting is not allowed here")
    try:
        for home in (disk, disk / "home"):
            with pytest.raises(StorageError, match="cannot be written"):
                db.engine(Settings(home=home))
    finally:
        os.system(f"umount '{disk}'")


def test_a_home_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written") as caught:
        db.engine(Settings(home=tmp_path / "file" / "home"))
    assert "GREENROOM_HOME" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_deleting_an_actor_takes_its_rows_along(session: Session, actor: Actor) -> None:
    session.delete(actor)
    session.flush()
    for table in ("pictures", "captions"):
        assert session.execute(text(f"SELECT count(*) FROM {table}")).scalar() == 0


def test_ids_are_distinct_and_safe_as_folder_names() -> None:
    made = {new_id("act") for _ in range(2_000)}
    assert len(made) == 2_000
    assert all(len(each) == 16 and each.islower() and each.replace("_", "").isalnum() for each in made)


def test_the_file_is_usable_by_others(settings: Settings) -> None:
    with db.session(settings) as session:
        session.add(Workspace(name="x", created_at=now()))
    with sqlite3.connect(settings.home_folder / "greenroom.sqlite3") as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
