"""Pictures that were drawn: searched, fetched, hidden and shown again. Each tells its full request."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from greenroom.db.models import Generation as GenerationRow
from greenroom.db.models import MadePicture as Row
from greenroom.studio import generations
from greenroom.studio.generations import Plan
from greenroom.web.api.common import Cursor, Id, Limit, Page, Search, Told, cut, picture_of, read_cursor
from greenroom.web.edge import settings_of, studio
from greenroom.web.pages import media

router = APIRouter(tags=["made pictures"])


class Cast(Told):
    """One actor of a picture, in the version that was in use when it was asked for."""

    actor_id: str
    name: str = Field(examples=["Kia"])
    trigger: str = Field(examples=["KIA_01"])
    version: int
    weight: float


class MadePicture(Told):
    """One picture that was drawn."""

    id: str = Field(examples=["mad_x2v7k4qm9w3n"])
    generation_id: str
    prompt: str
    seed: int
    width_px: int
    height_px: int
    file: str = Field(description="Path of the picture.")
    created_at: datetime
    deleted_at: datetime | None


class MadeInFull(MadePicture):
    """One picture with its full request."""

    asked: str = Field(description="The prompt as it was written.")
    negative: str
    base: str
    steps: int | None
    guidance: float | None
    cast: list[Cast]


@router.get("/made")
def list_made(
    request: Request, search: Search = "", limit: Limit = 48, cursor: Cursor = None
) -> Page[MadePicture]:
    """Pictures of the workspace, newest first, without deleted ones; `search` looks for words of the prompt."""
    before = read_cursor("made", cursor)
    with studio(settings_of(request)) as open_:
        found = generations.recent(
            open_.session, open_.workspace, search=search, before=before, limit=limit + 1
        )
        shown, more = cut(found, limit, "made")
        return Page[MadePicture](items=[told(row) for row in shown], next=more)


@router.get("/made/{picture_id}")
def get_made(request: Request, picture_id: Id) -> MadeInFull:
    """One picture with its full request; also a deleted one."""
    with studio(settings_of(request)) as open_:
        row = generations.find_picture(open_.session, open_.workspace, picture_id)
        plan = generations.plan(open_.generation(row.generation_id))
        return MadeInFull(
            **told(row).model_dump(),
            asked=plan.request.prompt,
            negative=plan.negative,
            base=plan.base,
            steps=plan.request.steps,
            guidance=plan.request.guidance,
            cast=cast_of(plan),
        )


@router.delete("/made/{picture_id}", status_code=204)
def delete_made(request: Request, picture_id: Id) -> Response:
    """Hide a picture; it can be restored."""
    with studio(settings_of(request)) as open_:
        row = generations.find_picture(open_.session, open_.workspace, picture_id)
        generations.delete_picture(open_.session, row)
    return Response(status_code=204)


@router.post("/made/{picture_id}/restore")
def restore_made(request: Request, picture_id: Id) -> MadePicture:
    """Show a deleted picture again."""
    with studio(settings_of(request)) as open_:
        row = generations.find_picture(open_.session, open_.workspace, picture_id)
        generations.restore_picture(open_.session, row)
        return told(row)


@router.get("/made/{picture_id}/file", response_class=Response, responses=picture_of("image/png"))
def made_file(request: Request, picture_id: Id) -> Response:
    """The picture, PNG."""
    return media.made(request, picture_id)


def told(row: Row, generation: GenerationRow | None = None) -> MadePicture:
    """A drawn picture as the API tells it."""
    return MadePicture(
        id=row.id,
        generation_id=generation.id if generation is not None else row.generation_id,
        prompt=row.prompt,
        seed=row.seed,
        width_px=row.width_px,
        height_px=row.height_px,
        file=f"/api/v1/made/{row.id}/file",
        created_at=row.created_at,
        deleted_at=row.deleted_at,
    )


def cast_of(plan: Plan) -> list[Cast]:
    """The actors of a request."""
    return [
        Cast(
            actor_id=member.actor_id,
            name=member.name,
            trigger=member.trigger,
            version=member.version,
            weight=member.weight,
        )
        for member in plan.cast
    ]
