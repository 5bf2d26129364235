"""Opens what a command works on and closes it once: settings, database session, store, workspace.

The edge of the studio for the command line. Imported inside commands only, as it brings the database along.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from sqlalchemy.orm import Session

from greenroom import errors, files, settings
from greenroom.cli import terminal
from greenroom.db import session as db
from greenroom.db.models import Workspace
from greenroom.errors import GreenroomError
from greenroom.studio import jobs, workspaces


@dataclass(frozen=True, kw_only=True)
class Studio:
    """An open studio. Everything done through `session` is saved together at the end, or not at all."""

    settings: settings.Settings
    session: Session
    store: files.Store
    workspace: Workspace


@contextmanager
def studio() -> Iterator[Studio]:
    """The studio in GREENROOM_HOME; commits at the end, rolls back on any error."""
    current = settings.current()
    store = files.store(current)
    with db.session(current) as session:
        jobs.requeue_expired(session)
        yield Studio(settings=current, session=session, store=store, workspace=workspaces.default(session))


@dataclass(frozen=True, kw_only=True)
class Stopping:
    """Two requests that a person can make from the keyboard."""

    stop: threading.Event
    now: threading.Event


@contextmanager
def stopping(what_is_kept: str) -> Iterator[Stopping]:
    """Within it, Ctrl-C and SIGTERM set `stop`, a second one `now`, instead of ending the process."""
    asked = Stopping(stop=threading.Event(), now=threading.Event())

    def ask(_number: int, _frame: FrameType | None) -> None:
        if asked.stop.is_set():
            asked.now.set()
        else:
            asked.stop.set()
            terminal.say(f"Stopping: {what_is_kept} Press Ctrl-C again to stop at once.")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def path_of(store: files.Store, key: str, home: Path) -> Path:
    """A file of the store as a path of this machine; fetched below `home` when the store is elsewhere."""
    return store.path(key) or store.local_copy(key, home / "fetched" / key)


def recorded_error(code: str | None, text: str | None) -> GreenroomError:
    """The error that a failed run was recorded with, as one to raise."""
    kind = getattr(errors, code or "", None)
    known = isinstance(kind, type) and issubclass(kind, GreenroomError)
    message = text or "The run failed and left no reason. Start it again."
    return kind(message) if known else errors.RunFailed(message)  # type: ignore[misc]
