"""Scores on the pages: the word on the card, the curves, and another checkpoint chosen by hand."""

from __future__ import annotations

import pytest
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from greenroom import files
from greenroom.db import session as db
from greenroom.db.models import Actor
from greenroom.ml import events
from greenroom.ml.select import Scores
from greenroom.settings import Settings
from greenroom.studio import bases, captions, images, jobs, recipes, trainings


def measured(step: int, likeness: float) -> events.Measured:
    found = Scores(
        step=step, pictures=24, likeness=likeness, likeness_low=likeness - 0.05, floor=0.1, ceiling=0.5,
        adherence=0.8, base_adherence=0.9, diversity=1.0, copying=0.1, drift=0.1, score=likeness,
        lower_bound=likeness - 0.05, reference="held out",
    )  # fmt: skip
    return events.Measured(step=step, scores=found, sheet=f"measures/step-{step:06d}.png")


def trained(session: Session, actor: Actor) -> str:
    base = bases.find(session, "toy")
    actor.base = base.id
    in_force = captions.all_(session, actor)
    config = recipes.config(
        recipes.default_for(base.family, actor.kind), name=actor.name, trigger=actor.trigger, kind=actor.kind,
        base=base, captions=[in_force[one.id].text for one in images.list_(session, actor) if one.id in in_force],
    )  # fmt: skip
    training = trainings.start(session, actor, config)
    jobs.claim(session, "me:1")
    for event in (measured(50, 0.3), measured(100, 0.8), measured(150, 0.5)):
        trainings.record(session, training, event)
    trainings.complete(
        session, training, lora_key=files.export_key(actor.id, training.id, "lora.safetensors"),
        steps=150, chosen_step=100,
    )  # fmt: skip
    for step in (100, 150):
        key = files.checkpoint_key(actor.id, training.id, step, "lora.safetensors")
        trainings.add_checkpoint_files(session, training, step, key=key)
    return training.id


@pytest.fixture
def training_id(home: Settings, juno_id: str) -> str:
    with db.session(home) as session:
        return trained(session, session.get_one(Actor, juno_id))


def test_the_card_and_the_page_say_the_word(client: TestClient, training_id: str, juno_id: str) -> None:
    assert '<span class="score is-excellent" title="Likeness">excellent</span>' in client.get("/").text
    assert "excellent (0.80)" in client.get(f"/actors/{juno_id}").text
    page = client.get(f"/trainings/{training_id}").text
    assert "Likeness: excellent" in page
    assert "100 · best" in page
    assert 'class="is-copying"' in page
    assert "not kept" in page


def test_another_checkpoint_is_chosen_and_the_choice_stays(client: TestClient, training_id: str) -> None:
    answer = client.post(f"/trainings/{training_id}/choose/150")
    assert answer.status_code == 303
    page = client.get(f"/trainings/{training_id}").text
    assert "Likeness: good" in page
    assert "100 · best" in page
    assert "Use step 100" in page


def test_weights_that_were_not_kept_are_refused_with_the_reason(client: TestClient, training_id: str) -> None:
    answer = client.post(f"/trainings/{training_id}/choose/50")
    assert answer.status_code == 409
    assert "were not kept. Choose 100 or 150" in answer.text


def test_without_scores_the_card_says_not_measured(
    client: TestClient, training_id: str, home: Settings
) -> None:
    with db.session(home) as session:
        for row in trainings.checkpoints(session, trainings.find(session, training_id)):
            row.scores = None
    assert "not measured" in client.get("/").text
    assert "Nothing was measured in this run." in client.get(f"/trainings/{training_id}").text
