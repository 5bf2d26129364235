"""What a training would need, before it is started."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field

from greenroom.studio import bases, estimates, plans
from greenroom.web.api.common import Id, Told
from greenroom.web.api.trainings import NewTraining, checked_settings
from greenroom.web.edge import settings_of, studio

router = APIRouter(tags=["trainings"])


class Estimate(Told):
    """About how much memory and time a training would need, and every value that it would be given."""

    recipe: str = Field(examples=["starter-character"])
    settings: dict[str, Any]
    memory_bytes: int | None = Field(description="Null when the base's files cannot be read.")
    least_bytes: int | None = Field(description="Where there is less memory, with all that helps.")
    seconds: float | None = Field(description="Null before a training here can be compared.")
    sentence: str = Field(description="The same in words.")


@router.post("/actors/{actor_id}/estimate")
def estimate_training(request: Request, actor_id: Id, new: NewTraining | None = None) -> Estimate:
    """What POST …/trainings with the same body would need; starts nothing."""
    asked = new or NewTraining()
    with studio(settings_of(request)) as open_:
        actor = open_.actor(actor_id)
        base = bases.find(open_.session, asked.base or actor.base)
        config, recipe = plans.config(
            open_.session, actor, base=base.id, recipe=asked.recipe, **checked_settings(asked)
        )
        found = estimates.training(open_.session, base, config)
    return Estimate(
        recipe=recipe.name,
        settings=config.model_dump(mode="json", exclude={"base_source"}),
        memory_bytes=found.memory_bytes if found is not None else None,
        least_bytes=found.least_bytes if found is not None else None,
        seconds=found.seconds if found is not None else None,
        sentence=found.sentence() if found is not None else "The base's files cannot be read.",
    )
