"""The queue: one table, claimed by one UPDATE … RETURNING. What a job is about follows its state.

Knows that a training or a generation stands behind a job; knows nothing about how the work is done.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from greenroom.db.models import Actor, ActorState, Generation, Job, JobKind, RunState, Training, now
from greenroom.errors import Conflict, UnknownJob
from greenroom.settings import current
from greenroom.studio import states

MOST_ATTEMPTS = 5
"""A job whose worker died this often is failed: it may well be what kills them."""


def add(session: Session, kind: JobKind, target_id: str) -> Job:
    """Queue a job. Raises SQLAlchemy's IntegrityError when its target has a live one."""
    job = Job(kind=kind, target_id=target_id)
    session.add(job)
    session.flush()
    return job


def find(session: Session, job_id: str) -> Job:
    """The job as it is in the database now. Raises UnknownJob."""
    job = session.get(Job, job_id, populate_existing=True)
    if job is None:
        raise UnknownJob(f"There is no job {job_id!r}. Look it up again.")
    return job


def newest(session: Session, target_id: str) -> Job | None:
    """The newest job of a training or generation."""
    jobs = (
        select(Job).where(Job.target_id == target_id).order_by(Job.created_at.desc(), Job.id.desc()).limit(1)
    )
    return session.scalars(jobs.execution_options(populate_existing=True)).first()


def claim(
    session: Session, worker_id: str, *, kinds: Iterable[JobKind] | None = None, job_id: str | None = None
) -> Job | None:
    """Take the oldest queued job (of some kinds, or that one); None when there is none to take.

    The training or generation behind it is running from here on.
    """
    oldest = select(Job.id).where(Job.state == RunState.QUEUED)
    if kinds is not None:
        oldest = oldest.where(Job.kind.in_(list(kinds)))
    if job_id is not None:
        oldest = oldest.where(Job.id == job_id)
    # NOTE: on Postgres two workers would else wait for one another; SQLite has one writer and ignores it.
    oldest = oldest.order_by(Job.created_at, Job.id).limit(1).with_for_update(skip_locked=True)
    taken = (
        update(Job)
        .where(Job.id == oldest.scalar_subquery(), Job.state == RunState.QUEUED)
        .values(
            state=RunState.RUNNING,
            worker_id=worker_id,
            attempt=Job.attempt + 1,
            lease_until=_lease(),
        )
        .returning(Job)
        .execution_options(populate_existing=True, synchronize_session=False)
    )
    job = session.scalars(taken).first()
    if job is not None:
        follow(session, job)
    return job


def heartbeat(session: Session, job: Job) -> bool:
    """Renew the lease; true when the person has asked to cancel.

    Raises Conflict when the job is no longer this worker's.
    """
    wanted = session.execute(
        update(Job)
        .where(
            Job.id == job.id,
            Job.state == RunState.RUNNING,
            Job.worker_id == job.worker_id,
            Job.attempt == job.attempt,
        )
        .values(lease_until=_lease())
        .returning(Job.cancel_requested)
        .execution_options(synchronize_session=False)
    ).first()
    if wanted is None:
        raise _lost(job)
    return bool(wanted[0])


def finish(session: Session, job: Job) -> None:
    """The work is done and its results are kept. Raises Conflict when the job is no longer this worker's."""
    _end(session, job, RunState.DONE)


def fail(session: Session, job: Job, code: str, text: str) -> None:
    """The work broke; code is an error's class name, text the sentence for the person."""
    _end(session, job, RunState.FAILED, code, text)


def cancelled(session: Session, job: Job) -> None:
    """The work was stopped as the person asked."""
    _end(session, job, RunState.CANCELLED)


def requeue(session: Session, job: Job) -> None:
    """Give the job back unfinished, for the next worker."""
    row = _mine(session, job)
    # It was given back, not lost: leaving in good order does not count as an attempt.
    row.attempt -= 1
    _return(session, row)


def requeue_expired(session: Session, *, is_gone: Callable[[str], bool] | None = None) -> list[Job]:
    """Queue again the jobs whose worker is dead: its lease ran out, or its process is gone from this machine.

    One that the person had asked to cancel is cancelled, one that has killed too many workers is failed.
    """
    gone = is_gone or _is_gone
    running = session.scalars(
        select(Job).where(Job.state == RunState.RUNNING).execution_options(populate_existing=True)
    ).all()
    moment = now()
    returned = []
    for seen in running:
        if not _is_over(seen.lease_until, moment) and not (seen.worker_id and gone(seen.worker_id)):
            continue
        # Under the lock, and only as it was seen: its worker may have renewed the lease meanwhile.
        taken = (
            update(Job)
            .where(
                Job.id == seen.id,
                Job.state == RunState.RUNNING,
                Job.attempt == seen.attempt,
                Job.lease_until.is_not_distinct_from(seen.lease_until),
            )
            .values(worker_id=None)
            .returning(Job)
            .execution_options(populate_existing=True, synchronize_session=False)
        )
        job = session.scalars(taken).first()
        if job is None:
            continue
        if job.cancel_requested:
            _close(session, job, RunState.CANCELLED)
        elif job.attempt >= MOST_ATTEMPTS:
            _close(
                session,
                job,
                RunState.FAILED,
                "RunFailed",
                f"Its worker died {job.attempt} times. Look at the log, free memory, and start it again: "
                "it goes on from the last checkpoint.",
            )
        else:
            _return(session, job)
        returned.append(job)
    return returned


def request_cancel(session: Session, job: Job) -> Job:
    """Ask for an end: a queued job is cancelled at once, a running one when its worker hears it."""
    row = session.scalars(
        update(Job)
        .where(Job.id == job.id, Job.state.in_(states.LIVE))
        .values(cancel_requested=True)
        .returning(Job)
        .execution_options(populate_existing=True, synchronize_session=False)
    ).first()
    if row is None:
        return find(session, job.id)
    if row.state == RunState.QUEUED:
        _close(session, row, RunState.CANCELLED)
    return row


def follow(session: Session, job: Job) -> None:
    """Bring what the job is about, and its actor, into the job's state."""
    if job.kind == JobKind.GENERATE:
        generation = session.get(Generation, job.target_id)
        if generation is not None:
            states.move_run(generation, job.state)
            generation.error_code, generation.error_text = job.error_code, job.error_text
            generation.finished_at = job.finished_at
    else:
        training = session.get(Training, job.target_id)
        if training is not None:
            _follow_training(session, job, training)
    session.flush()


def this_worker() -> str:
    """A name for this process as a worker: host:pid:start:random."""
    return f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}:{secrets.token_hex(4)}"


def is_gone(worker_id: str) -> bool:
    """True when that worker was a process of this machine and runs no more; false when we cannot know."""
    parts = worker_id.rsplit(":", 3)
    if len(parts) != 4 or parts[0] != socket.gethostname() or not parts[1].isdigit():
        return False
    alive = _started(int(parts[1]))
    # Another start time: the number was given to another process since.
    return alive is None or ("0" not in (alive, parts[2]) and alive != parts[2])


_is_gone = is_gone  # requeue_expired has a parameter of that name


def _started(pid: int) -> str | None:
    """When the process started, in ticks since boot; "0" where that cannot be read; None when it is dead."""
    if Path("/proc/self/stat").exists():
        try:
            # The name, in brackets, may hold spaces: what follows the last bracket is state, ppid, …
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in {"Z", "X"} else fields[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "0"


def _lease() -> datetime:
    return now() + timedelta(seconds=current().lease_s)


def _is_over(lease: datetime | None, moment: datetime) -> bool:
    return lease is None or lease < moment


def _mine(session: Session, job: Job) -> Job:
    """The row behind a claimed job, whatever copy the worker holds. Raises Conflict when it was lost."""
    claimed = (job.worker_id, job.attempt)
    if job in session:
        # NOTE: a copy that was merged into this session holds old values and would write them back.
        session.expire(job)
    row = find(session, job.id)
    if (row.worker_id, row.attempt) != claimed:
        raise _lost(job)
    return row


def _lost(job: Job) -> Conflict:
    return Conflict(f"The job {job.id} was taken over or ended meanwhile. Nothing is to be done here.")


def _end(session: Session, job: Job, to: RunState, code: str | None = None, text: str | None = None) -> None:
    row = _mine(session, job)
    if row.state == to:
        return
    _close(session, row, to, code, text)


def _close(
    session: Session, job: Job, to: RunState, code: str | None = None, text: str | None = None
) -> None:
    states.move_run(job, to)
    job.error_code, job.error_text = code, text
    job.finished_at = now()
    job.lease_until = None
    follow(session, job)


def _return(session: Session, job: Job) -> None:
    states.move_run(job, RunState.QUEUED)
    job.worker_id = None
    job.lease_until = None
    follow(session, job)


def _follow_training(session: Session, job: Job, training: Training) -> None:
    states.move_run(training, job.state)
    training.error_code, training.error_text = job.error_code, job.error_text
    training.finished_at = job.finished_at
    if job.state == RunState.RUNNING:
        training.started_at = training.started_at or now()
    actor = session.get(Actor, training.actor_id)
    assert actor is not None, "trainings.actor_id is a foreign key"
    after = {
        RunState.QUEUED: ActorState.QUEUED,
        RunState.RUNNING: ActorState.TRAINING,
        RunState.DONE: ActorState.TRAINED,
        RunState.FAILED: ActorState.FAILED,
        RunState.CANCELLED: ActorState.CANCELLED,
    }[job.state]
    # An older version serves on when a newer one was called off or broke.
    if job.state in {RunState.FAILED, RunState.CANCELLED} and actor.active_training_id is not None:
        after = ActorState.TRAINED
    states.move_actor(actor, after)
