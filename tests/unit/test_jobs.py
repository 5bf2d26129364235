from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from greenroom.db import session as db
from greenroom.db.models import Actor, ActorState, Generation, Job, JobKind, RunState, Workspace, now
from greenroom.errors import Conflict, UnknownJob
from greenroom.ml.config import TrainConfig
from greenroom.settings import Settings
from greenroom.studio import jobs, trainings

ALIVE = lambda _: False  # noqa: E731
DEAD = lambda _: True  # noqa: E731


@pytest.fixture
def queued(session: Session, workspace: Workspace) -> Job:
    """A queued generation."""
    generation = Generation(workspace_id=workspace.id, request={})
    session.add(generation)
    session.flush()
    return jobs.add(session, JobKind.GENERATE, generation.id)


def _target(session: Session, job: Job) -> Generation:
    return session.get_one(Generation, job.target_id)


def test_the_oldest_is_claimed_first_and_each_only_once(session: Session, queued: Job) -> None:
    second = jobs.add(session, JobKind.TRAIN, "trn_none")
    first = jobs.claim(session, "me")
    assert first is queued
    assert (first.state, first.attempt, first.worker_id) == (RunState.RUNNING, 1, "me")
    assert first.lease_until is not None
    assert timedelta(seconds=50) < first.lease_until - now() <= timedelta(seconds=60)
    assert _target(session, queued).state == RunState.RUNNING
    assert jobs.claim(session, "me") is second
    assert jobs.claim(session, "me") is None


def test_claim_by_kind_and_by_id(session: Session, queued: Job) -> None:
    train = jobs.add(session, JobKind.TRAIN, "trn_none")
    assert jobs.claim(session, "me", kinds=[JobKind.TRAIN]) is train
    assert jobs.claim(session, "me", job_id=train.id) is None
    assert jobs.claim(session, "me", job_id=queued.id) is queued


def test_many_workers_at_once_share_the_queue_without_overlap(settings: Settings) -> None:
    with db.session(settings) as session:
        for number in range(30):
            jobs.add(session, JobKind.TRAIN, f"trn_{number}")
    taken: list[tuple[str, str]] = []

    def work(name: str) -> None:
        while True:
            with db.session(settings) as session:
                job = jobs.claim(session, name)
            if job is None:
                return
            taken.append((job.id, name))

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 30
    assert len({job_id for job_id, _ in taken}) == 30


def test_a_target_has_one_live_job(session: Session, queued: Job) -> None:
    with pytest.raises(IntegrityError), session.begin_nested():
        jobs.add(session, JobKind.GENERATE, queued.target_id)
    jobs.request_cancel(session, queued)
    jobs.add(session, JobKind.GENERATE, queued.target_id)


def test_heartbeat_renews_the_lease_and_brings_the_cancel(settings: Settings) -> None:
    with db.session(settings) as session:
        jobs.add(session, JobKind.TRAIN, "trn_a")
        job = jobs.claim(session, "me")
        assert job is not None
        job.lease_until = now() + timedelta(seconds=1)
    with db.session(settings) as session:  # with a job of an earlier session, as a worker has it
        assert jobs.heartbeat(session, job) is False
        assert jobs.find(session, job.id).lease_until > now() + timedelta(seconds=50)  # type: ignore[operator]
    with db.session(settings) as session:
        assert jobs.request_cancel(session, job).state == RunState.RUNNING
    with db.session(settings) as session:
        assert jobs.heartbeat(session, job) is True


def test_whoever_lost_the_lease_may_record_nothing(settings: Settings) -> None:
    with db.session(settings) as session:
        jobs.add(session, JobKind.TRAIN, "trn_a")
        mine = jobs.claim(session, "me")
    assert mine is not None
    with db.session(settings) as session:
        assert len(jobs.requeue_expired(session, is_gone=DEAD)) == 1
        other = jobs.claim(session, "other")
    assert other is not None
    with db.session(settings) as session:
        for act in (jobs.heartbeat, jobs.finish, jobs.cancelled, jobs.requeue):
            with pytest.raises(Conflict, match="taken over or ended"):
                act(session, mine)
        with pytest.raises(Conflict):
            jobs.fail(session, session.merge(mine), "RunFailed", "no")
    with db.session(settings) as session:
        assert jobs.find(session, mine.id).worker_id == "other"
        jobs.finish(session, other)


def test_ends_are_recorded_on_job_and_target(session: Session, queued: Job) -> None:
    jobs.claim(session, "me")
    jobs.fail(session, queued, "OutOfMemory", "Too large. Ask for less.")
    target = _target(session, queued)
    assert (target.state, target.error_code, target.error_text) == (
        RunState.FAILED, "OutOfMemory", "Too large. Ask for less.",
    )  # fmt: skip
    assert target.finished_at == queued.finished_at is not None
    jobs.fail(session, queued, "OutOfMemory", "twice")  # told twice: nothing happens
    assert target.error_text == "Too large. Ask for less."


def test_an_expired_lease_or_a_dead_process_returns_the_job(session: Session, queued: Job) -> None:
    jobs.claim(session, "me")
    assert jobs.requeue_expired(session, is_gone=ALIVE) == []
    queued.lease_until = now() - timedelta(seconds=1)
    session.flush()
    assert jobs.requeue_expired(session, is_gone=ALIVE) == [queued]
    assert (queued.state, queued.worker_id, _target(session, queued).state) == (
        RunState.QUEUED, None, RunState.QUEUED,
    )  # fmt: skip
    jobs.claim(session, "me")
    assert jobs.requeue_expired(session, is_gone=DEAD) == [queued]
    assert queued.attempt == 2


def test_a_job_that_kills_its_workers_is_failed_in_the_end(session: Session, queued: Job) -> None:
    for _ in range(jobs.MOST_ATTEMPTS):
        assert queued.state == RunState.QUEUED
        jobs.claim(session, "me")
        jobs.requeue_expired(session, is_gone=DEAD)
    assert queued.state == RunState.FAILED
    assert "died 5 times" in (queued.error_text or "")


def test_a_cancelled_job_of_a_dead_worker_is_cancelled(session: Session, queued: Job) -> None:
    jobs.claim(session, "me")
    jobs.request_cancel(session, queued)
    jobs.requeue_expired(session, is_gone=DEAD)
    assert queued.state == RunState.CANCELLED


def test_a_job_given_back_counts_no_attempt(session: Session, queued: Job) -> None:
    for _ in range(9):
        jobs.claim(session, "me")
        jobs.requeue(session, queued)
    assert (queued.state, queued.attempt) == (RunState.QUEUED, 0)


def test_cancel_of_a_queued_job_is_at_once_and_of_an_ended_one_nothing(session: Session, queued: Job) -> None:
    assert jobs.request_cancel(session, queued).state == RunState.CANCELLED
    assert _target(session, queued).state == RunState.CANCELLED
    assert jobs.request_cancel(session, queued).state == RunState.CANCELLED
    assert jobs.claim(session, "me") is None


def test_find_names_the_unknown(session: Session) -> None:
    with pytest.raises(UnknownJob):
        jobs.find(session, "job_x")


def test_this_process_is_not_gone_and_a_killed_one_is_even_before_it_is_reaped() -> None:
    assert not jobs.is_gone(jobs.this_worker())
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from greenroom.studio import jobs; print(jobs.this_worker(), flush=True); input()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    name = child.stdout.readline().strip()
    assert not jobs.is_gone(name)
    os.kill(child.pid, signal.SIGKILL)
    for _ in range(500):
        if jobs.is_gone(name):
            break
        threading.Event().wait(0.01)
    assert jobs.is_gone(name)
    child.communicate()
    assert jobs.is_gone(name)


def test_a_number_given_to_another_process_since_is_gone() -> None:
    host, pid, started, rest = jobs.this_worker().rsplit(":", 3)
    if started == "0":
        pytest.skip("this system does not tell when a process started")
    assert jobs.is_gone(f"{host}:{pid}:{int(started) - 1}:{rest}")


@pytest.mark.parametrize("name", ["", "me", "a:b:c:d", "elsewhere:1:1:x", ":::", "host:12"])
def test_of_other_machines_and_odd_names_nothing_is_said(name: str) -> None:
    assert not jobs.is_gone(name)


def test_a_failed_retraining_leaves_the_older_version_in_use(
    session: Session, actor: Actor, config: Callable[..., TrainConfig]
) -> None:
    first = trainings.start(session, actor, config())
    jobs.claim(session, "me")
    trainings.complete(session, first, lora_key="actors/a/lora.safetensors")
    assert (actor.state, actor.active_training_id) == (ActorState.TRAINED, first.id)
    second = trainings.start(session, actor, config())
    assert actor.state == ActorState.QUEUED
    job = jobs.claim(session, "me")
    assert job is not None
    assert actor.state == ActorState.TRAINING
    jobs.fail(session, job, "RunFailed", "It broke.")
    assert (actor.state, actor.active_training_id) == (ActorState.TRAINED, first.id)
    assert (second.state, second.error_text) == (RunState.FAILED, "It broke.")
