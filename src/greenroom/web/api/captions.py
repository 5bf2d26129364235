"""Captions: read, saved without overwriting anybody's, and edited in bulk with preview and undo."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from greenroom.db.models import Actor as ActorRow
from greenroom.db.models import Caption as Row
from greenroom.db.models import CaptionSource
from greenroom.db.models import Picture as PictureRow
from greenroom.errors import EditedMeanwhile, WrongUse
from greenroom.studio import captions, images, triggers
from greenroom.studio.captions import Change as Edit
from greenroom.web import problems
from greenroom.web.api.common import Id, Page, Search, Sent, Told
from greenroom.web.edge import Studio, settings_of, studio

router = APIRouter(tags=["captions"])


class Caption(Told):
    """The caption in force of one picture."""

    picture_id: str = Field(examples=["pic_h7w3k9qz2m5x"])
    picture: str = Field(description="The picture's name.", examples=["kia-03.jpg"])
    text: str = Field(examples=["KIA_01, laughing, in a park"])
    revision: int = Field(description="Counts up with every edit; 0 while there is no caption.", examples=[2])
    source: CaptionSource | None
    has_trigger: bool
    saved_at: datetime | None


class NewCaption(Sent):
    """A caption, and the revision that it replaces."""

    text: str = Field(max_length=20_000, examples=["KIA_01, waving, at the beach"])
    revision: int | None = Field(
        default=None,
        ge=0,
        le=2**31 - 1,
        description="The revision that was read (0 for none). May come as If-Match instead.",
        examples=[1],
    )


class Wording(Told):
    """One wording that a caption had."""

    text: str
    revision: int
    source: CaptionSource
    saved_at: datetime


class BulkEdit(Sent):
    """An edit of all captions of an actor."""

    action: Literal["replace", "prepend", "trigger", "generate"] = Field(
        description="replace `find` by `replace` (empty: remove it), put `words` in front, put the trigger where "
        "it is missing, or have the empty ones written.",
        examples=["replace"],
    )
    find: str = Field(default="", max_length=2_000, examples=["park"])
    replace: str = Field(default="", max_length=2_000, examples=["garden"])
    words: str = Field(default="", max_length=2_000, examples=["flat drawing"])
    preview: bool = Field(default=False, description="Only tell what would change.", examples=[True])


class Change(Told):
    """One caption of a bulk edit, as it was and as it is or will be."""

    picture_id: str
    picture: str
    before: str
    after: str


class Changes(Told):
    """What a bulk edit changed, or would change."""

    is_done: bool
    count: int
    changes: list[Change]


@router.get("/actors/{actor_id}/captions")
def list_captions(
    request: Request,
    actor_id: Id,
    show: Annotated[
        Literal["all", "empty", "no-trigger"],
        Query(description="Only the empty ones, or without the trigger."),
    ] = "all",
    search: Search = "",
) -> Page[Caption]:
    """The captions of an actor's pictures, in their order; a picture without one has the revision 0."""
    with studio(settings_of(request)) as open_:
        actor = open_.actor(actor_id)
        in_force = captions.all_(open_.session, actor)
        items = []
        for picture in images.list_(open_.session, actor):
            told = _told(actor, picture, in_force.get(picture.id))
            is_hidden = (show == "empty" and told.text) or (show == "no-trigger" and told.has_trigger)
            if not is_hidden and search.lower() in told.text.lower():
                items.append(told)
        return Page[Caption](items=items)


@router.get("/actors/{actor_id}/pictures/{picture_id}/caption")
def get_caption(request: Request, response: Response, actor_id: Id, picture_id: Id) -> Caption:
    """One caption; its revision is also the ETag."""
    with studio(settings_of(request)) as open_:
        told = _one(open_, open_.actor(actor_id), picture_id)
    response.headers["etag"] = f'"{told.revision}"'
    return told


@router.put("/actors/{actor_id}/pictures/{picture_id}/caption", response_model=Caption)
def save_caption(
    request: Request,
    actor_id: Id,
    picture_id: Id,
    new: NewCaption,
    if_match: Annotated[str | None, Header(max_length=40, examples=['"1"'])] = None,
) -> Response:
    """Save a caption. 409 with the newer wording, under `current`, when somebody saved since it was read."""
    expected = _expected(new.revision, if_match)
    with studio(settings_of(request)) as open_:
        actor = open_.actor(actor_id)
        picture = images.find(open_.session, actor, picture_id)
        try:
            captions.set_(open_.session, picture, new.text, expected_revision=expected)
        except EditedMeanwhile as error:
            current = _one(open_, actor, picture_id).model_dump(mode="json")
            return problems.response(error, request.url.path, current=current)
        told = _one(open_, actor, picture_id)
    return JSONResponse(told.model_dump(mode="json"), headers={"etag": f'"{told.revision}"'})


@router.get("/actors/{actor_id}/pictures/{picture_id}/caption/history")
def caption_history(request: Request, actor_id: Id, picture_id: Id) -> Page[Wording]:
    """Every wording that a caption had, newest first."""
    with studio(settings_of(request)) as open_:
        picture = images.find(open_.session, open_.actor(actor_id), picture_id)
        return Page[Wording](
            items=[
                Wording(text=row.text, revision=row.revision, source=row.source, saved_at=row.created_at)
                for row in captions.history(open_.session, picture)
            ]
        )


@router.post("/actors/{actor_id}/captions/bulk")
def edit_captions(request: Request, actor_id: Id, edit: BulkEdit) -> Changes:
    """Edit all captions at once; with `preview` only tell what would change. One undo takes it back."""
    with studio(settings_of(request)) as open_:
        actor, session = open_.actor(actor_id), open_.session
        if edit.action == "replace":
            done = (captions.preview_replace if edit.preview else captions.replace)(
                session, actor, edit.find, edit.replace
            )
        elif edit.action == "prepend":
            done = (captions.preview_prepend if edit.preview else captions.prepend)(
                session, actor, edit.words
            )
        elif edit.action == "generate":
            done = (captions.preview_generate if edit.preview else captions.generate)(
                session, open_.store, actor
            )
        else:
            done = (captions.preview_trigger if edit.preview else captions.give_trigger)(session, actor)
        return _changes(done, is_done=not edit.preview)


@router.post("/actors/{actor_id}/captions/undo")
def undo_captions(request: Request, actor_id: Id) -> Changes:
    """Take the newest bulk edit back; captions that were edited since stay as they are."""
    with studio(settings_of(request)) as open_:
        return _changes(captions.undo(open_.session, open_.actor(actor_id)), is_done=True)


def _expected(revision: int | None, if_match: str | None) -> int:
    if if_match is not None:
        number = if_match.strip().removeprefix("W/").strip('"')
        if not number.isascii() or not number.isdigit() or len(number) > 9:
            raise WrongUse('If-Match must be the ETag of the caption, such as "1".')
        return int(number)
    if revision is None:
        raise WrongUse("Say which revision was read: as `revision`, or its ETag as If-Match.")
    return revision


def _one(open_: Studio, actor: ActorRow, picture_id: str) -> Caption:
    picture = images.find(open_.session, actor, picture_id)
    return _told(actor, picture, captions.latest(open_.session, picture))


def _told(actor: ActorRow, picture: PictureRow, caption: Row | None) -> Caption:
    text = caption.text if caption is not None else ""
    return Caption(
        picture_id=picture.id,
        picture=picture.original_name,
        text=text,
        revision=caption.revision if caption is not None else 0,
        source=caption.source if caption is not None else None,
        has_trigger=triggers.is_in(actor.trigger, text),
        saved_at=caption.created_at if caption is not None else None,
    )


def _changes(done: list[Edit], *, is_done: bool) -> Changes:
    return Changes(
        is_done=is_done,
        count=len(done),
        changes=[
            Change(
                picture_id=change.picture.id,
                picture=change.picture.original_name,
                before=change.before,
                after=change.after,
            )
            for change in done
        ],
    )
