"""The worker without torch: presence, sweeping, and jobs that cannot be done."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from greenroom import files, worker
from greenroom.db import session as db
from greenroom.db.models import Actor, ActorState, RunState
from greenroom.errors import AlreadyTraining
from greenroom.settings import Settings
from greenroom.studio import actors, bases, jobs, recipes, trainings, workspaces


@pytest.fixture
def here(draft: Path) -> Settings:
    """The settings of a home with a draft."""
    return Settings(home=draft)


@pytest.fixture
def training_id(here: Settings) -> str:
    """A queued training of the draft."""
    with db.session(here) as session:
        actor = actors.find(session, workspaces.default(session), "Juno")
        config = recipes.config(
            recipes.load("starter-character"),
            name=actor.name,
            trigger=actor.trigger,
            kind=actor.kind,
            base=bases.find(session, "toy"),
        )
        return trainings.start(session, actor, config).id


def _claim(here: Settings, worker_id: str) -> str:
    with db.session(here) as session:
        job = jobs.claim(session, worker_id)
        assert job is not None
        return job.id


def test_a_worker_is_known_while_it_is_there(here: Settings) -> None:
    assert worker.working(here) == set()
    with worker.present(here) as worker_id:
        assert worker.working(here) == {worker_id}
    assert worker.working(here) == set()


def test_the_card_of_a_dead_worker_is_removed(here: Settings) -> None:
    with worker.present(here):
        pass
    host, _, start, token = jobs.this_worker().rsplit(":", 3)
    card = here.home_folder / "workers" / "dead"
    card.write_text(f"{host}:{2**22 - 1}:{start}:{token}")
    assert worker.working(here) == set()
    assert not card.exists()


def test_sweep_removes_only_what_nothing_needs(here: Settings, training_id: str) -> None:
    for name in (training_id, "trn_gone", "gen_gone"):
        (here.runs / name).mkdir(parents=True)
    worker.sweep(here)
    assert [folder.name for folder in here.runs.iterdir()] == [training_id]


def test_a_job_whose_picture_was_lost_fails_with_the_reason(here: Settings, training_id: str) -> None:
    with db.session(here) as session:
        key = trainings.find(session, training_id).manifest[0]["key"]
    files.store(here).delete(key)
    assert worker.run_one(here) is not None
    with db.session(here) as session:
        training = trainings.find(session, training_id)
        assert training.state == RunState.FAILED
        assert "not in the store" in (training.error_text or "")
        assert session.get_one(Actor, training.actor_id).state == ActorState.FAILED


def test_nothing_to_claim_is_no_job(here: Settings) -> None:
    assert worker.run_one(here) is None


def test_finish_refuses_a_job_that_another_command_has(here: Settings, training_id: str) -> None:
    job_id = _claim(here, jobs.this_worker())
    with pytest.raises(AlreadyTraining):
        worker.finish(here, job_id, worker.Watch())
    with db.session(here) as session:
        assert trainings.find(session, training_id).state == RunState.RUNNING


def test_stopping_a_command_that_follows_a_worker_cancels_the_job(here: Settings, training_id: str) -> None:
    states: list[RunState] = []
    with worker.present(here) as worker_id:
        job_id = _claim(here, worker_id)
        watch = worker.Watch()
        follower = threading.Thread(target=lambda: states.append(worker.finish(here, job_id, watch)))
        follower.start()
        watch.stop.set()
        for _ in range(100):
            with db.session(here) as session:
                job = jobs.find(session, job_id)
                if jobs.heartbeat(session, job):
                    jobs.cancelled(session, job)
                    break
            threading.Event().wait(0.1)
        follower.join(20)
    assert states == [RunState.CANCELLED]
    with db.session(here) as session:
        assert trainings.find(session, training_id).state == RunState.CANCELLED


def test_an_idle_worker_goes_home_when_it_is_stopped(here: Settings) -> None:
    watch = worker.Watch()
    threading.Timer(0.3, watch.stop.set).start()
    worker.loop(here, watch)
    assert worker.working(here) == set()
