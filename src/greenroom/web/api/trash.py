"""The trash: deleted actors, and the end of them."""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from greenroom.db.models import now
from greenroom.errors import UnknownActor
from greenroom.studio import actors, gallery
from greenroom.web.api import actors as actors_api
from greenroom.web.api.actors import Actor
from greenroom.web.api.common import Cursor, Id, Limit, Page, Told, read_cursor, write_cursor
from greenroom.web.edge import settings_of, studio

router = APIRouter(tags=["trash"])


class Trashed(Told):
    """An actor in the trash."""

    actor: Actor
    days_left: int = Field(
        description="How long the trash promises to keep it; nothing is erased unasked.", examples=[30]
    )


class Erased(Told):
    """What emptying the trash did."""

    actors: int
    files: int


@router.get("/trash")
def list_trash(request: Request, limit: Limit = 48, cursor: Cursor = None) -> Page[Trashed]:
    """Deleted actors, newest first."""
    after = read_cursor("trash", cursor)
    with studio(settings_of(request)) as open_:
        shown = gallery.page(open_.session, open_.workspace, deleted=True, after=after, limit=limit)
        items = [
            Trashed(
                actor=actors_api.told(card),
                days_left=max(0, actors.TRASH_DAYS - (now() - deleted_at) // timedelta(days=1)),
            )
            for card in shown.cards
            if (deleted_at := card.actor.deleted_at) is not None
        ]
        return Page[Trashed](items=items, next=write_cursor("trash", shown.next) if shown.next else None)


@router.delete("/trash")
def empty_trash(request: Request) -> Erased:
    """Erase everything in it from the disk: pictures, captions and weights. Nobody can bring them back."""
    with studio(settings_of(request)) as open_:
        gone = actors.list_(open_.session, open_.workspace, deleted=True)
        erased = sum(actors.purge(open_.session, open_.store, actor) for actor in gone)
    return Erased(actors=len(gone), files=erased)


@router.delete("/trash/{actor_id}", status_code=204)
def erase_actor(request: Request, actor_id: Id) -> Response:
    """Erase one actor of the trash from the disk."""
    with studio(settings_of(request)) as open_:
        found = open_.actor(actor_id, deleted=True)
        if found.deleted_at is None:
            raise UnknownActor("There is no such actor in the trash. Delete it first.")
        actors.purge(open_.session, open_.store, found)
    return Response(status_code=204)
