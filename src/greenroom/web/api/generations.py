"""Generations: a prompt with actors in it, queued, and followed while its pictures come."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import Field

from greenroom.db.models import Generation as Row
from greenroom.db.models import RunState
from greenroom.studio import generations, jobs
from greenroom.studio.states import LIVE
from greenroom.web.api import made as made_api
from greenroom.web.api import streams
from greenroom.web.api.common import (
    Cursor,
    Id,
    IdempotencyKey,
    Limit,
    Page,
    Sent,
    Told,
    create,
    cut,
    read_cursor,
)
from greenroom.web.api.made import Cast, MadePicture
from greenroom.web.api.streams import Event as Message
from greenroom.web.edge import Studio, settings_of, studio

router = APIRouter(tags=["generations"])


class NewGeneration(Sent):
    """What to draw. What is left out is as the base does it; without a seed, any."""

    prompt: str = Field(min_length=1, max_length=2_000, examples=["@KIA_01 laughing, in space"])
    negative: str = Field(default="", max_length=2_000, examples=["blurry"])
    count: int = Field(default=1, ge=1, le=64, examples=[4])
    seed: int | None = Field(default=None, ge=0, lt=2**63 - 64, examples=[7])
    width_px: int | None = Field(default=None, ge=32, le=2048, examples=[None])
    height_px: int | None = Field(default=None, ge=32, le=2048, examples=[None])
    steps: int | None = Field(default=None, ge=1, le=200, examples=[None])
    guidance: float | None = Field(default=None, ge=0, le=30, examples=[None])
    weight: float = Field(
        default=1.0, ge=-2, le=2, description="How strongly every actor acts: 1 as trained."
    )
    base: str | None = Field(default=None, max_length=64, examples=["starter"])


class Generation(Told):
    """A request with everything decided, and what it drew so far."""

    id: str = Field(examples=["gen_w8q3n5kx7m2v"])
    state: RunState
    prompt: str = Field(description="As the base gets it: without @.")
    negative: str
    asked: str = Field(description="The prompt as it was written.")
    count: int
    seed: int
    width_px: int
    height_px: int
    base: str
    cast: list[Cast]
    pictures: list[MadePicture]
    error_code: str | None
    error: str | None
    created_at: datetime
    finished_at: datetime | None


@router.get("/generations")
def list_generations(request: Request, limit: Limit = 48, cursor: Cursor = None) -> Page[Generation]:
    """Requests, newest first."""
    before = read_cursor("generations", cursor)
    with studio(settings_of(request)) as open_:
        found = generations.list_(open_.session, open_.workspace, before=before, limit=limit + 1)
        shown, more = cut(found, limit, "generations")
        return Page[Generation](items=[_told(open_, row) for row in shown], next=more)


@router.post("/generations", status_code=201, response_model=Generation)
def start_generation(request: Request, new: NewGeneration, key: IdempotencyKey = None) -> Response:
    """Queue a request for pictures."""

    def make(open_: Studio) -> tuple[Generation, str]:
        asked = generations.request(**new.model_dump())
        row = generations.start(open_.session, open_.workspace, asked)
        return _told(open_, row), f"/generations/{row.id}"

    return create(request, key, new, make)


@router.get("/generations/{generation_id}")
def get_generation(request: Request, generation_id: Id) -> Generation:
    """One request and its pictures."""
    with studio(settings_of(request)) as open_:
        return _told(open_, open_.generation(generation_id))


@router.post("/generations/{generation_id}/cancel")
def cancel_generation(request: Request, generation_id: Id) -> Generation:
    """Stop drawing; what was drawn is kept."""
    with studio(settings_of(request)) as open_:
        row = open_.generation(generation_id)
        jobs.request_cancel(open_.session, generations.job(open_.session, row))
        open_.session.refresh(row)
        return _told(open_, row)


@router.get(
    "/generations/{generation_id}/events/stream",
    response_class=StreamingResponse,
    responses=streams.RESPONSE,
)
def stream_pictures(
    request: Request,
    generation_id: Id,
    last_event_id: Annotated[
        str | None, Header(max_length=64, description="Go on after this picture.")
    ] = None,
) -> StreamingResponse:
    """Its pictures as they come, as `picture` events; then `end` with its state."""
    settings = settings_of(request)
    with studio(settings) as open_:
        open_.generation(generation_id)

    def look(last: str) -> tuple[Sequence[Message], bool]:
        with studio(settings) as open_:
            row = open_.generation(generation_id)
            is_over = row.state not in LIVE
            drawn = generations.pictures(open_.session, row, by_age=True)
            seen = next((at for at, picture in enumerate(drawn, start=1) if picture.id == last), 0)
            sent = [
                Message(
                    id=picture.id, name="picture", data=made_api.told(picture, row).model_dump(mode="json")
                )
                for picture in drawn[seen:]
            ]
            if is_over:
                sent.append(Message(name="end", data={"state": row.state.value}))
            return sent, is_over

    return streams.stream(request, look)


def _told(open_: Studio, row: Row) -> Generation:
    plan = generations.plan(row)
    return Generation(
        id=row.id,
        state=row.state,
        prompt=plan.prompt,
        negative=plan.negative,
        asked=plan.request.prompt,
        count=plan.request.count,
        seed=plan.seed,
        width_px=plan.width_px,
        height_px=plan.height_px,
        base=plan.base,
        cast=made_api.cast_of(plan),
        pictures=[made_api.told(picture, row) for picture in generations.pictures(open_.session, row)],
        error_code=row.error_code,
        error=row.error_text,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )
