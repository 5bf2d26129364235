"""Claims jobs and does them, one at a time; each in a child, so that no crash takes the studio down.

Trusts nothing in memory: whatever dies here, the job's row and its run folder are enough to go on.
Knows jobs; the work itself is in training.py and drawing.py.
"""

from __future__ import annotations

import contextlib
import json
import time
import traceback
from collections.abc import Callable

from pydantic import ValidationError

from greenroom import errors, files
from greenroom.db import session as db
from greenroom.db.models import Job, JobKind, RunState
from greenroom.errors import GreenroomError
from greenroom.ml import events
from greenroom.settings import Settings
from greenroom.studio import jobs, orphans, trainings
from greenroom.worker.drawing import Painter, draw
from greenroom.worker.presence import present, sweep, working
from greenroom.worker.training import train
from greenroom.worker.watch import Watch

__all__ = ["Painter", "Watch", "finish", "follow", "loop", "present", "run_one", "sweep", "working"]

IDLE_S = 0.5


def loop(settings: Settings, watch: Watch, on_job: Callable[[Job, bool], None] = lambda *_: None) -> None:
    """Work until `watch.stop` is set. A job that breaks is recorded as failed; the next one is taken.

    on_job: called with each job when it is claimed (False) and when it has ended (True).
    """
    painter = Painter(settings)
    with db.session(settings) as session:
        orphans.sweep(session, files.store(settings))
    with present(settings) as worker_id:
        try:
            while not watch.stop.is_set():
                with db.session(settings) as session:
                    jobs.requeue_expired(session)
                    job = jobs.claim(session, worker_id)
                if job is None:
                    painter.rest()
                    sweep(settings)
                    watch.stop.wait(IDLE_S)
                    continue
                on_job(job, False)
                try:
                    _work(settings, job, watch, painter)
                finally:
                    on_job(job, True)
        finally:
            painter.close()


def run_one(
    settings: Settings, job_id: str | None = None, watch: Watch | None = None, painter: Painter | None = None
) -> Job | None:
    """Claim and do one job (that one, or the next); None when there was none to claim.

    painter: a warm child to draw with; without one, a drawing starts its own and ends it.
    """
    with db.session(settings) as session:
        jobs.requeue_expired(session)
        job = jobs.claim(session, jobs.this_worker(), job_id=job_id)
    if job is None:
        return None
    own = painter or Painter(settings)
    try:
        _work(settings, job, watch or Watch(), own)
    finally:
        if painter is None:
            own.close()
    return job


def finish(
    settings: Settings, job_id: str, watch: Watch, *, patience_s: float = 0.0, painter: Painter | None = None
) -> RunState:
    """Bring a queued job to its end: do it here, or follow the worker that was faster.

    patience_s: how long a worker that runs beside us, maybe with the base loaded, may take to claim it.
    Raises AlreadyTraining when another command, not a worker, has it.
    """
    until = time.monotonic() + patience_s
    while time.monotonic() < until and working(settings):
        with db.session(settings) as session:
            if jobs.find(session, job_id).state != RunState.QUEUED:
                break
        time.sleep(0.1)
    while True:
        if run_one(settings, job_id, watch, painter) is None:
            with db.session(settings) as session:
                job = jobs.find(session, job_id)
            if job.state == RunState.RUNNING and job.worker_id not in working(settings):
                raise errors.AlreadyTraining(
                    "Another command is at work on this very actor. Let it finish, or stop it, and try again."
                )
            follow(settings, job_id, watch)
        with db.session(settings) as session:
            state = jobs.find(session, job_id).state
        if state not in (RunState.QUEUED, RunState.RUNNING):
            return state


def follow(settings: Settings, job_id: str, watch: Watch) -> RunState:
    """Watch another worker's job until it ends or is queued again. Stopping asks that worker to cancel."""
    seen = 0
    is_asked = False
    while True:
        with db.session(settings) as session:
            jobs.requeue_expired(session)
            job = jobs.find(session, job_id)
            news = trainings.events(session, job.target_id, after=seen) if job.kind == JobKind.TRAIN else []
            if watch.stop.is_set() and not is_asked:
                jobs.request_cancel(session, job)
                is_asked = True
        for row in news:
            seen = row.id
            with contextlib.suppress(ValidationError):
                watch.on_event(events.parse(json.dumps(row.json)))
        if job.state != RunState.RUNNING:
            return job.state
        time.sleep(IDLE_S)


def _work(settings: Settings, job: Job, watch: Watch, painter: Painter) -> None:
    """Do a claimed job to its end, and record that end whatever it is."""
    try:
        if job.kind == JobKind.TRAIN:
            painter.close()  # two loaded bases rarely fit into one device
            train(settings, job, watch)
        else:
            draw(settings, job, watch, painter)
    except errors.Conflict:
        # The lease was lost: another worker has the job, and with it the right to record anything.
        return
    except errors.Cancelled:
        with db.session(settings) as session:
            wants_cancel = jobs.find(session, job.id).cancel_requested
            if watch.stop.is_set() and watch.on_stop == "requeue" and not wants_cancel:
                jobs.requeue(session, job)
            else:
                jobs.cancelled(session, job)
    except GreenroomError as error:
        with db.session(settings) as session:
            jobs.fail(session, job, error.code, str(error))
    except Exception as error:  # noqa: BLE001 - the edge of the worker
        log = settings.home_folder / "logs" / f"{job.id}.log"
        log.parent.mkdir(exist_ok=True)
        log.write_text("".join(traceback.format_exception(error)))
        with db.session(settings) as session:
            text = f"The worker itself failed: {errors.summarise(error)}. Details are in {log}."
            jobs.fail(session, job, "RunFailed", text)
