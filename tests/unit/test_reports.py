"""The report: one file, with what was measured and nothing that was not."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from PIL import Image
from sqlalchemy.orm import Session
from tests_unit_scores import finished, measured

from greenroom import files
from greenroom.db.models import Actor, Training
from greenroom.errors import WrongState
from greenroom.ml.config import TrainConfig
from greenroom.studio import reports, scores


@pytest.fixture
def done(session: Session, actor: Actor, config: Callable[..., TrainConfig]) -> Training:
    return finished(session, actor, config(steps=150))


def test_a_report_stands_on_its_own(
    session: Session, store: files.Store, actor: Actor, done: Training, tmp_path: object
) -> None:
    for step in (0, 100, 150):
        key = files.sheet_key(actor.id, done.id, step)
        file = store.path(key)
        assert file is not None
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (24, 8), (step, 90, 90)).save(file)
    page = reports.html(session, store, actor)
    assert page.count("data:image/png") == 3
    assert "excellent" in page
    assert "step 100" in page
    assert "<polyline" in page
    # Nothing is fetched, and no caption or file name is told.
    assert not re.findall(r"(?:src|href)=.(?!data:)", page)
    assert "http" not in page
    assert "a red" not in page
    assert all(picture.original_name not in page for picture in actor.pictures)


def test_a_choice_by_hand_is_told(session: Session, store: files.Store, actor: Actor, done: Training) -> None:
    scores.choose(session, done, 150)
    page = reports.html(session, store, actor)
    assert "The measures speak for step 100; step 150 was chosen by hand." in page


def test_what_was_not_measured_is_said_so(
    session: Session, store: files.Store, actor: Actor, done: Training
) -> None:
    done.chosen_step = 75
    page = reports.html(session, store, actor)
    assert "not measured" in page
    assert "were not measured, so nothing is said about its likeness" in page


def test_names_cannot_become_markup(
    session: Session, store: files.Store, actor: Actor, done: Training
) -> None:
    actor.name = "<script>alert(1)</script>"
    assert "<script>" not in reports.html(session, store, actor)


def test_an_actor_that_was_never_trained_has_no_report(
    session: Session, store: files.Store, actor: Actor
) -> None:
    with pytest.raises(WrongState, match="Train it first"):
        reports.html(session, store, actor)


def test_labels_of_equal_curves_do_not_cover_each_other() -> None:
    row = [measured(step, 0.8, adherence=0.8, copying=0.8).scores for step in (50, 100)]
    places = [
        float(y) for y in re.findall(r'y="([0-9.]+)" fill="#[0-9a-f]+" font-weight', reports.chart(row, 100))
    ]
    assert len(places) == 3
    assert min(b - a for a, b in zip(sorted(places), sorted(places)[1:], strict=False)) >= 16
