"""What a training would be told."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.orm import Session
from tests_unit_pictures import write_base

from greenroom.db.models import Actor, RunState
from greenroom.errors import BadRecipe, NotReady, UnknownBase, UnknownRecipe
from greenroom.studio import bases, images, plans, trainings


def test_the_recipe_of_base_and_kind_is_the_default(session: Session, actor: Actor) -> None:
    config, recipe = plans.config(session, actor, steps=8)
    assert (recipe.name, config.steps, config.trigger) == ("starter-character", 8, "KIA_01")
    assert "KIA_01, a woman, picture 0" in config.sample_prompts
    assert plans.config(session, actor, recipe="starter-style")[1].name == "starter-style"


def test_a_path_is_no_recipe(session: Session, actor: Actor, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('family = "starter"\nkind = "character"\n[train]\nsteps = 1\nresolution_px = 64\n')
    with pytest.raises(UnknownRecipe):
        plans.config(session, actor, recipe=str(own))
    with pytest.raises(BadRecipe):
        plans.config(session, actor, nonsense=1)


def test_a_start_that_is_refused_leaves_nothing(session: Session, actor: Actor, tmp_path: Path) -> None:
    bases.add(session, "second", write_base(tmp_path / "second"))
    for picture in images.list_(session, actor)[:2]:
        images.remove(session, picture)
    with pytest.raises(NotReady):
        plans.start(session, actor, base="second")
    session.expire(actor)
    assert (actor.base, trainings.list_(session, actor)) == ("tiny", [])
    with pytest.raises(UnknownBase):
        plans.start(session, actor, base="third")


def test_a_start_queues_on_the_base_that_was_chosen(session: Session, actor: Actor, tmp_path: Path) -> None:
    bases.add(session, "second", write_base(tmp_path / "second"))
    training = plans.start(session, actor, base="second", steps=8)
    assert (training.base, training.state, training.total_steps) == ("second", RunState.QUEUED, 8)
