"""Scores of checkpoints in the studio: recorded, put into a word, and overruled by the person."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy.orm import Session
from tests_unit_scores import finished

from greenroom import files
from greenroom.db.models import Actor, Training
from greenroom.errors import WrongState
from greenroom.ml.config import TrainConfig
from greenroom.studio import exports, scores, trainings

Config = Callable[..., TrainConfig]


@pytest.fixture
def done(session: Session, actor: Actor, config: Config) -> Training:
    return finished(session, actor, config(steps=150))


def test_what_was_measured_is_recorded_with_its_checkpoint(session: Session, done: Training) -> None:
    assert [(one.step, one.likeness) for one in scores.of(session, done)] == [
        (50, 0.3),
        (100, 0.8),
        (150, 0.7),
    ]
    used = scores.used(session, done)
    assert used is not None
    assert used.step == done.chosen_step == 100
    assert scores.word(used) == "excellent"
    assert (done.step, scores.best(session, done)) == (150, 100)


def test_a_person_chooses_another_checkpoint_and_exports_follow(
    session: Session, store: files.Store, actor: Actor, done: Training
) -> None:
    for name in ("lora.safetensors", "lora-kohya.safetensors", "model-card.json"):
        store.put(files.checkpoint_key(actor.id, done.id, 150, name), name.encode())
    scores.choose(session, done, 150)
    assert done.chosen_step == 150
    assert scores.best(session, done) == 100
    assert [found.key for found in exports.list_(store, actor, done)] == [
        files.checkpoint_key(actor.id, done.id, 150, name)
        for name in ("lora.safetensors", "lora-kohya.safetensors", "model-card.json")
    ]


def test_weights_that_were_not_kept_cannot_be_chosen(session: Session, done: Training) -> None:
    with pytest.raises(WrongState, match="step 50 were not kept"):
        scores.choose(session, done, 50)
    assert done.chosen_step == 100


def test_a_training_that_runs_has_nothing_to_choose_from(
    session: Session, actor: Actor, config: Config
) -> None:
    training = trainings.start(session, actor, config())
    with pytest.raises(WrongState, match="Let it end"):
        scores.choose(session, training, 100)
    assert scores.word(scores.used(session, training)) == "not measured"


def test_scores_of_another_release_count_as_not_measured(session: Session, done: Training) -> None:
    for row in trainings.checkpoints(session, done):
        row.scores = {"likeness": 0.9}
    session.flush()
    assert scores.of(session, done) == []
    assert scores.word(scores.used(session, done)) == "not measured"
