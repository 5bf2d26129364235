"""What is wrong, doubtful or worth knowing about an actor's set."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import Field

from greenroom.studio import checks
from greenroom.studio.findings import Level
from greenroom.web.api.common import Id, Told
from greenroom.web.edge import settings_of, studio

router = APIRouter(tags=["checks"])


class Finding(Told):
    """One thing to know: what was measured, against which threshold, and what to do."""

    code: str = Field(examples=["small_picture"])
    level: Level
    message: str
    remedy: str
    picture: str | None
    picture_id: str | None
    value: float | str | None
    threshold: float | str | None
    action: str | None = Field(description="What the remedy does with the picture: remove, replace or keep.")


class Review(Told):
    """Every finding about a set, blocking ones first."""

    is_ready: bool = Field(description="Whether a training may start.")
    findings: list[Finding]


@router.get("/actors/{actor_id}/checks")
def review(request: Request, actor_id: Id) -> Review:
    """Every finding. The first look at each picture takes up to a second; later ones are kept."""
    with studio(settings_of(request)) as open_:
        found = checks.review(open_.session, open_.store, open_.actor(actor_id))
    told = [
        Finding.model_validate({name: getattr(finding, name) for name in Finding.model_fields})
        for finding in found
    ]
    return Review(is_ready=not checks.blocking(found), findings=told)
