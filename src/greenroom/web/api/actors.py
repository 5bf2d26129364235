"""Actors: listed, made, changed, moved to the trash and back."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import Field

from greenroom.db.models import ActorKind, ActorState
from greenroom.errors import BadInput, Conflict
from greenroom.studio import actors, bases, gallery, triggers
from greenroom.studio.gallery import Card
from greenroom.web.api.common import (
    Cursor,
    Id,
    IdempotencyKey,
    Limit,
    Page,
    Search,
    Sent,
    Told,
    create,
    read_cursor,
    write_cursor,
)
from greenroom.web.edge import Studio, settings_of, studio
from greenroom.web.wording import face_url

router = APIRouter(tags=["actors"])


class Actor(Told):
    """A character or a style."""

    id: str = Field(examples=["act_k3v9mwq2hx7d"])
    name: str = Field(examples=["Kia"])
    trigger: str = Field(examples=["KIA_01"])
    kind: ActorKind
    state: ActorState
    base: str = Field(examples=["starter"])
    pictures: int = Field(examples=[12])
    version: int | None = Field(description="The version that prompts use; null before the first.")
    training_id: str | None = Field(description="The training that made that version.")
    face: str | None = Field(description="Path of a picture that shows it.")
    created_at: datetime
    deleted_at: datetime | None


class NewActor(Sent):
    """What a new actor needs; everything else can wait."""

    kind: ActorKind = Field(examples=["character"])
    name: str = Field(min_length=1, max_length=200, examples=["Kia"])
    trigger: str = Field(min_length=1, max_length=64, examples=["KIA_01"])
    base: str = Field(default=bases.STARTER, max_length=64, examples=["starter"])


class ActorChange(Sent):
    """What is to be changed; members that are left out stay."""

    name: str | None = Field(default=None, max_length=200, examples=["Kia of the North"])
    base: str | None = Field(default=None, max_length=64, examples=["starter"])
    training_id: str | None = Field(
        default=None, max_length=40, description="Use the version that this training made.", examples=[None]
    )


class TriggerVerdict(Told):
    """Whether a new actor could have a trigger."""

    trigger: str
    is_free: bool
    problem: str = Field(description="Why not, and what to do; empty when it is free.")
    suggestion: str = Field(examples=["KIA_01"])


@router.get("/actors")
def list_actors(
    request: Request,
    search: Search = "",
    state: Annotated[ActorState | None, Query(description="Only those in this state.")] = None,
    limit: Limit = 48,
    cursor: Cursor = None,
) -> Page[Actor]:
    """The actors of the workspace, newest first."""
    after = read_cursor("actors", cursor)
    with studio(settings_of(request)) as open_:
        shown = gallery.page(
            open_.session, open_.workspace, search=search, state=state or "", after=after, limit=limit
        )
        return Page[Actor](
            items=[told(card) for card in shown.cards],
            next=write_cursor("actors", shown.next) if shown.next else None,
        )


@router.post("/actors", status_code=201, response_model=Actor)
def create_actor(request: Request, new: NewActor, key: IdempotencyKey = None) -> Response:
    """A new actor in Draft."""

    def make(open_: Studio) -> tuple[Actor, str]:
        made = actors.create(
            open_.session, open_.workspace, kind=new.kind, name=new.name, trigger=new.trigger, base=new.base
        )
        return told(gallery.cards(open_.session, [made])[0]), f"/actors/{made.id}"

    return create(request, key, new, make)


@router.get("/actors/{actor_id}")
def get_actor(request: Request, actor_id: Id) -> Actor:
    """One actor."""
    with studio(settings_of(request)) as open_:
        return told(gallery.cards(open_.session, [open_.actor(actor_id)])[0])


@router.patch("/actors/{actor_id}")
def change_actor(request: Request, actor_id: Id, change: ActorChange) -> Actor:
    """Rename it, choose the base of its next version, or the version that prompts use."""
    with studio(settings_of(request)) as open_:
        found = open_.actor(actor_id)
        if change.name is not None:
            actors.rename(open_.session, found, change.name)
        if change.base is not None:
            actors.set_base(open_.session, found, change.base)
        if change.training_id is not None:
            actors.use_version(open_.session, found, open_.training(change.training_id)[0])
        return told(gallery.cards(open_.session, [found])[0])


@router.delete("/actors/{actor_id}", status_code=204)
def delete_actor(request: Request, actor_id: Id) -> Response:
    """Move it to the trash; nothing is erased."""
    with studio(settings_of(request)) as open_:
        actors.delete(open_.session, open_.actor(actor_id))
    return Response(status_code=204)


@router.post("/actors/{actor_id}/restore")
def restore_actor(request: Request, actor_id: Id) -> Actor:
    """Take it out of the trash."""
    with studio(settings_of(request)) as open_:
        found = open_.actor(actor_id, deleted=True)
        actors.restore(open_.session, found)
        return told(gallery.cards(open_.session, [found])[0])


@router.get("/triggers")
def check_trigger(
    request: Request,
    trigger: Annotated[str, Query(min_length=1, max_length=64, examples=["KIA_01"])],
) -> TriggerVerdict:
    """Whether a new actor could have that trigger."""
    with studio(settings_of(request)) as open_:
        problem = ""
        try:
            actors.check_trigger(open_.session, open_.workspace, trigger)
        except (BadInput, Conflict) as error:
            problem = str(error)
    return TriggerVerdict(
        trigger=trigger, is_free=not problem, problem=problem, suggestion=triggers.suggest(trigger)
    )


def told(card: Card) -> Actor:
    """A card of the gallery as the API tells it."""
    actor = card.actor
    return Actor(
        id=actor.id,
        name=actor.name,
        trigger=actor.trigger,
        kind=actor.kind,
        state=actor.state,
        base=actor.base,
        pictures=card.pictures,
        version=card.active.version if card.active is not None else None,
        training_id=card.active.id if card.active is not None else None,
        face=face_url(card.face) or None,
        created_at=actor.created_at,
        deleted_at=actor.deleted_at,
    )
