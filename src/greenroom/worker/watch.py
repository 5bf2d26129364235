"""Follows a child of the torch side while it works, keeps the job's lease, and stops the child when asked.

Knows jobs and children; knows nothing about what the lines of the child mean.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from greenroom import errors
from greenroom.db import session as db
from greenroom.db.models import Job
from greenroom.errors import GreenroomError
from greenroom.ml import events
from greenroom.runners import Ended, Running
from greenroom.settings import Settings
from greenroom.studio import jobs

HEARTBEAT_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Who listens to a job, and how it is stopped."""

    on_event: Callable[[events.Event], None] = lambda _: None
    stop: threading.Event = field(default_factory=threading.Event)
    """Set it and the child saves and ends."""
    now: threading.Event = field(default_factory=threading.Event)
    """Set it as well and the child is ended without saving."""
    on_stop: Literal["cancel", "requeue"] = "cancel"
    """What becomes of the job: a person who stops a command cancels it, a departing worker returns it."""


def attend(
    settings: Settings,
    job: Job,
    child: Running,
    watch: Watch,
    read: Callable[[str], None],
    *,
    until: threading.Event | None = None,
) -> Ended | None:
    """Read the child's lines until it ends, or until `until` is set (then None).

    Keeps the lease meanwhile. Raises Cancelled when the child was asked to stop and did, and Conflict when
    another worker has taken the job over.
    """
    beat_at = 0.0
    wants_cancel = is_asked = is_killed = False
    while (ended := child.ended()) is None:
        if until is not None and until.is_set():
            return None
        line = child.next_line(0.2)
        if line:
            read(line)
        if time.monotonic() - beat_at > HEARTBEAT_S:
            with db.session(settings) as session:
                wants_cancel = jobs.heartbeat(session, job)
            beat_at = time.monotonic()
        if not is_asked and (wants_cancel or watch.stop.is_set()):
            child.stop()
            is_asked = True
        if watch.now.is_set() and not is_killed:
            child.kill()
            is_killed = True
    if ended.code == errors.Cancelled.exit_code or (is_asked and ended.code < 0):
        raise errors.Cancelled("Stopped.")
    return ended


def failure(code: str, message: str) -> GreenroomError:
    """The error that a child named, as one of ours."""
    kind = getattr(errors, code, None)
    known = isinstance(kind, type) and issubclass(kind, GreenroomError)
    return kind(message) if known else errors.RunFailed(message)  # type: ignore[misc]


def unexplained(what: str, ended: Ended, remedy: str) -> GreenroomError:
    kind = errors.OutOfMemory if ended.ran_out_of_memory else errors.RunFailed
    return kind(f"The {what} broke off: {ended.explain()}. {remedy} Its log is {ended.log}.")
