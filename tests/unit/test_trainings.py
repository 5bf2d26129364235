from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable

import pytest
from sqlalchemy.orm import Session

from greenroom import files
from greenroom.db import session as db
from greenroom.db.models import Actor, ActorState, Job, RunState, Training
from greenroom.errors import AlreadyTraining, ChangedDataset, Conflict, NotReady, UnknownTraining, WrongState
from greenroom.ml import events
from greenroom.ml.config import TrainConfig
from greenroom.settings import Settings
from greenroom.studio import captions, images, jobs, trainings

Config = Callable[..., TrainConfig]


def _claim(session: Session) -> Job:
    job = jobs.claim(session, jobs.this_worker())
    assert job is not None
    return job


def _complete(session: Session, training: Training) -> None:
    _claim(session)
    trainings.complete(
        session, training, lora_key=files.export_key(training.actor_id, training.id, "lora.safetensors")
    )


def test_start_freezes_the_set_and_queues(
    session: Session, store: files.Store, actor: Actor, config: Config
) -> None:
    training = trainings.start(session, actor, config(steps=20), recipe="starter-character")
    assert (training.version, training.state, actor.state) == (1, RunState.QUEUED, ActorState.QUEUED)
    assert (training.recipe, training.base, training.total_steps) == ("starter-character", "tiny", 20)
    given = trainings.inputs(training)
    assert TrainConfig.model_validate(given.config) == config(steps=20)
    lines = given.manifest["pictures"]
    assert [line["caption"] for line in lines[2:]] == [
        "KIA_01, a woman, picture 2", "KIA_01, laughing", "KIA_01", "KIA_01",
    ]  # fmt: skip
    assert [line["file"] for line in lines] == [f"pictures/{n:04d}.png" for n in range(1, 7)]
    for line in lines:
        assert hashlib.sha256(store.get(given.files[line["file"]])).hexdigest() == line["sha256"]
    captions.set_(session, images.list_(session, actor)[0], "KIA_01, later")
    assert trainings.inputs(training).manifest == given.manifest


def test_start_refuses_what_the_checks_block_with_the_findings(
    session: Session, actor: Actor, config: Config
) -> None:
    for picture in images.list_(session, actor)[:2]:
        images.remove(session, picture)
    with pytest.raises(NotReady, match="There are 4 usable pictures") as caught:
        trainings.start(session, actor, config())
    assert [finding.code for finding in caught.value.findings] == ["too_few_pictures"]
    assert actor.state == ActorState.DRAFT
    assert trainings.list_(session, actor) == []


def test_two_trainings_of_one_actor_at_once_are_refused(
    session: Session, actor: Actor, config: Config
) -> None:
    trainings.start(session, actor, config())
    for _ in range(2):
        with pytest.raises(AlreadyTraining, match="KIA is in training already"):
            trainings.start(session, actor, config())
        if jobs.claim(session, "me:1"):
            continue
    assert len(trainings.list_(session, actor)) == 1


def test_two_commands_that_start_together_make_one_training(
    settings: Settings, session: Session, actor: Actor, config: Config
) -> None:
    wanted = config()
    session.commit()
    outcomes: list[str] = []
    together = threading.Barrier(4)

    def begin() -> None:
        with db.session(settings) as own:
            mine = own.get_one(Actor, actor.id)
            trainings.latest(own, mine)
            together.wait()
            try:
                trainings.start(own, mine, wanted)
                outcomes.append("started")
            except AlreadyTraining:
                outcomes.append("refused")

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused", "refused", "refused", "started"]


def test_a_race_past_every_look_is_refused_by_the_database(
    session: Session, actor: Actor, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings.start(session, actor, config())
    monkeypatch.setattr(trainings, "latest", lambda *_: None)  # as if the other had not been there yet
    with pytest.raises(AlreadyTraining):
        trainings.start(session, actor, config())
    monkeypatch.undo()
    assert len(trainings.list_(session, actor)) == 1


def test_an_actor_in_the_trash_is_not_trained(session: Session, actor: Actor, config: Config) -> None:
    from greenroom.studio import actors

    actors.delete(session, actor)
    with pytest.raises(WrongState, match="in the trash"):
        trainings.start(session, actor, config())


def test_the_whole_way_to_trained(session: Session, actor: Actor, config: Config) -> None:
    training = trainings.start(session, actor, config(steps=20))
    job = _claim(session)
    assert (training.state, actor.state) == (RunState.RUNNING, ActorState.TRAINING)
    assert training.started_at is not None
    for event in (
        events.Progress(phase="cache", step=3, total_steps=6, seconds=1.0),
        events.Note(text="Pictures are not mirrored."),
        events.Progress(phase="train", step=10, total_steps=20, loss=0.5, seconds=4.0, seconds_left=4.0),
        events.Sample(step=10, index=0, prompt="KIA_01", seed=0, file="samples/a.png"),
        events.Saved(step=10, folder="checkpoints/step-000010"),
        events.Progress(phase="export", step=1, total_steps=1, seconds=8.0),
    ):
        trainings.record(session, training, event)
    trainings.add_checkpoint_files(session, training, 10, sample_keys=["actors/a/s.png"])
    assert (training.phase, training.step, training.total_steps, training.loss) == ("export", 10, 20, 0.5)
    [checkpoint] = trainings.checkpoints(session, training)
    assert (checkpoint.step, checkpoint.sample_keys, checkpoint.scores) == (10, ["actors/a/s.png"], None)
    trainings.complete(session, training, lora_key="actors/a/l", kohya_key=None, chosen_step=20, seconds=8.5)
    assert (training.state, job.state, actor.state) == (RunState.DONE, RunState.DONE, ActorState.TRAINED)
    assert (actor.active_training_id, training.step, training.seconds) == (training.id, 20, 8.5)
    told = trainings.events(session, training.id)
    assert [row.json["event"] for row in told] == [
        "progress", "note", "progress", "sample", "saved", "progress", "done",
    ]  # fmt: skip
    assert [row.json["event"] for row in trainings.events(session, training.id, after=told[4].id)] == [
        "progress", "done",
    ]  # fmt: skip
    for row in told:
        import json

        events.parse(json.dumps(row.json))


def test_record_takes_plain_mappings_and_trainings_of_another_session(
    settings: Settings, session: Session, actor: Actor, config: Config
) -> None:
    training = trainings.start(session, actor, config())
    session.commit()
    with db.session(settings) as other:
        said = {"event": "progress", "phase": "train", "step": 7, "total_steps": 300, "seconds": 1.0}
        trainings.record(other, training, said)
    with db.session(settings) as other:
        assert trainings.find(other, training.id).step == 7


def test_complete_needs_a_worker(session: Session, actor: Actor, config: Config) -> None:
    training = trainings.start(session, actor, config())
    with pytest.raises(Conflict, match="not running"):
        trainings.complete(session, training, lora_key="actors/a/l")
    assert actor.active_training_id is None


def test_cancel_of_a_queued_training(session: Session, actor: Actor, config: Config) -> None:
    training = trainings.start(session, actor, config())
    trainings.cancel(session, training)
    assert (training.state, actor.state) == (RunState.CANCELLED, ActorState.CANCELLED)
    trainings.cancel(session, training)


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_the_same_again_goes_on_with_an_unfinished_training(
    session: Session, actor: Actor, config: Config, end: str
) -> None:
    first = trainings.resume_or_start(session, actor, config())
    assert not first.resumed
    job = _claim(session)
    if end == "failed":
        jobs.fail(session, job, "OutOfMemory", "Too large.")
    else:
        jobs.cancelled(session, job)
    again = trainings.resume_or_start(session, actor, config())
    assert again.resumed
    assert again.training is first.training
    assert again.job.id != job.id
    assert (again.training.state, again.training.error_text, actor.state) == (
        RunState.QUEUED, None, ActorState.QUEUED,
    )  # fmt: skip


def test_a_queued_training_is_taken_up_as_it_is(session: Session, actor: Actor, config: Config) -> None:
    first = trainings.resume_or_start(session, actor, config())
    again = trainings.resume_or_start(session, actor, config(checkpoint_every=7))  # changes no weight
    assert again.resumed
    assert (again.training, again.job) == (first.training, first.job)
    with pytest.raises(AlreadyTraining):
        trainings.resume_or_start(session, actor, config(steps=7))
    with pytest.raises(AlreadyTraining):
        trainings.resume_or_start(session, actor, config(), new_version=True)


def test_a_running_training_is_refused_while_its_worker_lives_and_resumed_once_it_is_dead(
    session: Session, actor: Actor, config: Config
) -> None:
    first = trainings.resume_or_start(session, actor, config())
    job = _claim(session)
    with pytest.raises(AlreadyTraining, match="step 0 of 150"):
        trainings.resume_or_start(session, actor, config())
    host, _, _, rest = jobs.this_worker().rsplit(":", 3)
    job.worker_id = f"{host}:999999999:1:{rest}"  # no such process
    session.flush()
    again = trainings.resume_or_start(session, actor, config())
    assert again.resumed
    assert (again.training, again.job) == (first.training, job)
    assert job.state == RunState.QUEUED


def test_another_configuration_after_a_failure_is_a_new_version(
    session: Session, actor: Actor, config: Config
) -> None:
    trainings.cancel(session, trainings.start(session, actor, config()))
    started = trainings.resume_or_start(session, actor, config(steps=50))
    assert (started.resumed, started.training.version) == (False, 2)


def test_a_finished_training_is_followed_by_a_new_version(
    session: Session, actor: Actor, config: Config
) -> None:
    first = trainings.start(session, actor, config())
    _complete(session, first)
    second = trainings.resume_or_start(session, actor, config())
    assert (second.resumed, second.training.version) == (False, 2)
    assert actor.active_training_id == first.id
    _complete(session, second.training)
    assert actor.active_training_id == second.training.id
    assert [training.version for training in trainings.list_(session, actor)] == [2, 1]


def test_changed_captions_after_a_failure_are_told_with_the_ways_on(
    session: Session, actor: Actor, config: Config
) -> None:
    training = trainings.start(session, actor, config())
    trainings.cancel(session, training)
    captions.set_(session, images.list_(session, actor)[0], "KIA_01, other words")
    with pytest.raises(ChangedDataset, match="Resume that as it was, or ask for a new version"):
        trainings.resume_or_start(session, actor, config())
    assert trainings.resume(session, actor).training is training
    trainings.cancel(session, training)
    started = trainings.resume_or_start(session, actor, config(), new_version=True)
    assert started.training.manifest[0]["caption"] == "KIA_01, other words"


def test_resume_names_what_it_cannot_do(session: Session, actor: Actor, config: Config) -> None:
    with pytest.raises(WrongState, match="was never trained"):
        trainings.resume(session, actor)
    training = trainings.start(session, actor, config())
    assert trainings.resume(session, actor).resumed
    _claim(session)
    with pytest.raises(AlreadyTraining):
        trainings.resume(session, actor)
    trainings.complete(session, training, lora_key="actors/a/l")
    with pytest.raises(WrongState, match=r"is trained \(version 1\)"):
        trainings.resume(session, actor)


def test_two_commands_that_resume_together_queue_one_job(
    session: Session, actor: Actor, config: Config
) -> None:
    training = trainings.start(session, actor, config())
    trainings.cancel(session, training)
    trainings.resume(session, actor)
    with pytest.raises(AlreadyTraining):
        trainings._again(session, actor, training)


def test_find_names_the_unknown(session: Session) -> None:
    with pytest.raises(UnknownTraining):
        trainings.find(session, "trn_x")


def test_losses_are_told_once_a_step_in_order(session: Session, actor: Actor, config: Config) -> None:
    training = trainings.start(session, actor, config())
    assert trainings.losses(session, training) == []
    assert trainings.newest_event(session, training) == 0
    said = [("cache", 1, 9.0), ("train", 1, 0.5), ("train", 2, 0.4), ("train", 1, 0.3), ("train", 3, None)]
    for phase, step, loss in said:
        trainings.record(
            session, training, events.Progress(phase=phase, step=step, total_steps=3, loss=loss, seconds=1.0)
        )
    assert trainings.losses(session, training) == [(1, 0.3), (2, 0.4)]
    everything = trainings.events(session, training.id)
    assert trainings.newest_event(session, training) == everything[-1].id
    assert trainings.events(session, training.id, after=everything[1].id, limit=2) == everything[2:4]


def test_only_the_newest_version_is_gone_on_with(session: Session, actor: Actor, config: Config) -> None:
    first = trainings.start(session, actor, config())
    _complete(session, first)
    trainings.refuse_older(session, actor, first)
    trainings.start(session, actor, config(seed=1))
    with pytest.raises(WrongState, match="not the newest"):
        trainings.refuse_older(session, actor, first)
