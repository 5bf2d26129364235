"""What a training of an actor would be told: its base, a recipe, its captions, and what the person changed."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from greenroom.db.models import Actor, Training
from greenroom.errors import UnknownRecipe
from greenroom.ml.config import TrainConfig
from greenroom.studio import actors, bases, captions, images, near, recipes, trainings
from greenroom.studio.recipes import Recipe


def config(
    session: Session, actor: Actor, *, base: str | None = None, recipe: str | None = None, **overrides: Any
) -> tuple[TrainConfig, Recipe]:
    """The configuration of the next version, and the recipe that it came from; writes nothing.

    base: another one than the actor's. recipe: the name of one that ships; None takes the default of the base and kind.
    Raises UnknownBase, BaseMissing, UnknownRecipe or BadRecipe.
    """
    on = bases.find(session, base or actor.base)
    if recipe is not None and recipe not in recipes.names():
        # NOTE: recipes.load also opens a path; what comes over the network never is one.
        known = near.sentence(recipe[:80], recipes.names(), "None is installed.")
        raise UnknownRecipe(f"There is no recipe {recipe[:80]!r}. {known}")
    chosen = recipes.load(recipe) if recipe else recipes.default_for(on.family, actor.kind)
    in_force = captions.all_(session, actor)
    pictures = images.list_(session, actor)
    texts = [in_force[picture.id].text for picture in pictures if picture.id in in_force]
    made = recipes.config(
        chosen,
        name=actor.name,
        trigger=actor.trigger,
        kind=actor.kind,
        base=on,
        captions=texts,
        pictures=len(pictures),
        **overrides,
    )
    return made, chosen


def start(
    session: Session,
    actor: Actor,
    *,
    base: str | None = None,
    recipe: str | None = None,
    **overrides: Any,
) -> Training:
    """Choose the base, make the configuration and queue the training; nothing stays when any of it is refused.

    Raises what actors.set_base, `config` and trainings.start raise.
    """
    with session.begin_nested():
        if base:
            actors.set_base(session, actor, base)
        made, chosen = config(session, actor, recipe=recipe, **overrides)
        return trainings.start(session, actor, made, recipe=chosen.name)
