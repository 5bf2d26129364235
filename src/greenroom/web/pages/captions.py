"""Step four of Train New Model: the captions, each beside its picture, and edits of all at once."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, Response

from greenroom.db.models import Actor, CaptionSource
from greenroom.errors import BadInput, EditedMeanwhile, NotFound
from greenroom.studio import captions, images, triggers
from greenroom.studio.captions import Change
from greenroom.web.edge import Studio, is_part, page, see_other, settings_of, studio

router = APIRouter()

SHOW = {"": "All", "empty": "Empty", "no-trigger": "Without the trigger"}
Action = Literal["replace", "prepend", "trigger", "generate"]


@router.get("/actors/{actor_id}/captions")
def captions_(
    request: Request,
    actor_id: str,
    show: Annotated[str, Query(max_length=20)] = "",
    q: Annotated[str, Query(max_length=200)] = "",
    changed: int = 0,
    undone: int = 0,
) -> HTMLResponse:
    """Every picture beside its caption."""
    with studio(settings_of(request)) as open_:
        actor = open_.actor(actor_id)
        return _page(request, open_, actor, show=show, q=q, changed=changed, undone=undone)


@router.post("/actors/{actor_id}/captions/bulk")
def bulk(
    request: Request,
    actor_id: str,
    action: Annotated[Action, Form()],
    find: Annotated[str, Form(max_length=2_000)] = "",
    replace: Annotated[str, Form(max_length=2_000)] = "",
    words: Annotated[str, Form(max_length=2_000)] = "",
    do: Annotated[Literal["preview", "apply"], Form()] = "preview",
) -> Response:
    """Show what an edit of all captions would change, or do it."""
    with studio(settings_of(request)) as open_:
        actor, session = open_.actor(actor_id), open_.session
        asked = {"action": action, "find": find, "replace": replace, "words": words}
        try:
            if do == "apply":
                if action == "replace":
                    done = captions.replace(session, actor, find, replace)
                elif action == "prepend":
                    done = captions.prepend(session, actor, words)
                elif action == "generate":
                    done = captions.generate(session, open_.store, actor)
                else:
                    done = _give_trigger(open_, actor)
                return see_other(f"/actors/{actor_id}/captions?changed={len(done)}")
            if action == "replace":
                changes = captions.preview_replace(session, actor, find, replace)
            elif action == "prepend":
                changes = captions.preview_prepend(session, actor, words)
            elif action == "generate":
                changes = captions.preview_generate(session, open_.store, actor)
            else:
                changes = _without_trigger(open_, actor)
        except BadInput as error:
            return _page(request, open_, actor, status=422, problem=str(error), asked=asked)
        return _page(request, open_, actor, changes=changes, asked=asked)


@router.post("/actors/{actor_id}/captions/undo")
def undo(request: Request, actor_id: str) -> Response:
    """Take the newest edit of all captions back."""
    with studio(settings_of(request)) as open_:
        actor = open_.actor(actor_id)
        try:
            back = captions.undo(open_.session, actor)
        except NotFound as error:
            return _page(request, open_, actor, status=404, problem=str(error))
    return see_other(f"/actors/{actor_id}/captions?undone={len(back)}")


@router.post("/actors/{actor_id}/captions/{picture_id}")
def save(
    request: Request,
    actor_id: str,
    picture_id: str,
    revision: Annotated[int, Form()],
    text: Annotated[str, Form(max_length=20_000)] = "",
) -> Response:
    """Save one caption. Somebody else's newer wording is shown, never overwritten."""
    with studio(settings_of(request)) as open_:
        actor = open_.actor(actor_id)
        picture = images.find(open_.session, actor, picture_id)
        status, problem, theirs = 200, "", None
        try:
            captions.set_(open_.session, picture, text, expected_revision=revision)
        except EditedMeanwhile:
            newest = captions.latest(open_.session, picture)
            status, theirs = 409, newest.text if newest else ""
        except BadInput as error:
            status, problem = 422, str(error)
        if status == 200 and not is_part(request):
            return see_other(f"/actors/{actor_id}/captions#{picture_id}")
        row = {
            **_row(open_, actor, picture_id),
            "problem": problem,
            "theirs": theirs,
            "is_saved": status == 200,
        }
        if status != 200:
            row["text"] = text
        if is_part(request):
            counts = _counts(open_, actor)
            return page("captions/saved.html", request, status=status, actor=actor, row=row, **counts)
        return _page(request, open_, actor, status=status, in_place=row)


def _page(
    request: Request,
    open_: Studio,
    actor: Actor,
    *,
    status: int = 200,
    show: str = "",
    q: str = "",
    changed: int = 0,
    undone: int = 0,
    problem: str = "",
    changes: list[Change] | None = None,
    asked: dict[str, str] | None = None,
    in_place: dict[str, object] | None = None,
) -> HTMLResponse:
    rows = []
    for picture in images.list_(open_.session, actor):
        row = _row(open_, actor, picture.id)
        text = str(row["text"])
        is_hidden = (show == "empty" and bool(text)) or (show == "no-trigger" and bool(row["has_trigger"]))
        if is_hidden or (q and q.lower() not in text.lower()):
            continue
        rows.append(in_place if in_place and in_place["picture"] is picture else row)
    return page(
        "captions/captions.html",
        request,
        status=status,
        actor=actor,
        rows=rows,
        show=show,
        shows=SHOW,
        q=q,
        changed=changed,
        undone=undone,
        problem=problem,
        changes=changes,
        asked=asked or {"action": "", "find": "", "replace": "", "words": ""},
        **_counts(open_, actor),
    )


def _row(open_: Studio, actor: Actor, picture_id: str) -> dict[str, object]:
    picture = images.find(open_.session, actor, picture_id)
    caption = captions.latest(open_.session, picture)
    text = caption.text if caption else ""
    return {
        "picture": picture,
        "text": text,
        "revision": caption.revision if caption else 0,
        "has_trigger": triggers.is_in(actor.trigger, text),
        "problem": "",
        "theirs": None,
        "is_saved": False,
    }


def _counts(open_: Studio, actor: Actor) -> dict[str, int]:
    pictures = images.list_(open_.session, actor)
    in_force = captions.all_(open_.session, actor)
    texts = [in_force[picture.id].text if picture.id in in_force else "" for picture in pictures]
    return {
        "total": len(texts),
        "captioned": sum(bool(text) for text in texts),
        "with_trigger": sum(triggers.is_in(actor.trigger, text) for text in texts),
    }


def _without_trigger(open_: Studio, actor: Actor) -> list[Change]:
    """What putting the trigger everywhere would change; an empty caption becomes the trigger alone."""
    in_force = captions.all_(open_.session, actor)
    found = []
    for picture in images.list_(open_.session, actor):
        before = in_force[picture.id].text if picture.id in in_force else ""
        after, is_added = triggers.ensure_in_caption(actor.trigger, before)
        if is_added:
            found.append(Change(picture=picture, before=before, after=after))
    return found


def _give_trigger(open_: Studio, actor: Actor) -> list[Change]:
    texts = [(change.picture, change.after) for change in _without_trigger(open_, actor)]
    return captions.set_all(open_.session, texts, source=CaptionSource.EDITED)
