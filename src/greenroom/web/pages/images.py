"""Step three of Train New Model: pictures come in, one request each, and every file gets a verdict."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from greenroom import files
from greenroom.errors import BadInput, GreenroomError
from greenroom.settings import Settings
from greenroom.studio import archives, caption_files, crops, images, trainings
from greenroom.studio.caption_files import CaptionFile
from greenroom.studio.images import Upload, Verdict
from greenroom.web import receiving
from greenroom.web.edge import Studio, page, render, see_other, settings_of, studio

router = APIRouter()

_NEVER_MIND = "Let it end or cancel it before its pictures change"


@router.get("/actors/{actor_id}/pictures")
def pictures(
    request: Request, actor_id: str, removed: Annotated[str, Query(max_length=40)] = ""
) -> HTMLResponse:
    """The set so far, and where to drop more."""
    with studio(settings_of(request)) as open_:
        return _page(request, open_, actor_id, removed=removed)


@router.put("/actors/{actor_id}/pictures")
async def upload(
    request: Request,
    actor_id: str,
    name: Annotated[str, Query(min_length=1, max_length=1_000)],
    x_caption: Annotated[str, Header(max_length=30_000)] = "",
) -> JSONResponse:
    """One file as the body of one request; X-Caption is its caption, percent-encoded.

    Answers its verdict; a zip's answer has the verdict of every file in it under `files`.
    """
    settings = settings_of(request)
    with ExitStack() as stack:
        scratch = await run_in_threadpool(lambda: stack.enter_context(files.store(settings).scratch()))
        # The name that the person's file has never becomes part of a path.
        file = scratch / "upload"
        size = await receiving.body(request.stream(), file)
        is_zip = await run_in_threadpool(archives.is_zip, file)
        if is_zip:
            received = await run_in_threadpool(receiving.unzipped, file, name)
        else:
            caption = CaptionFile(text=caption_files.clean(unquote(x_caption)))
            received = receiving.Received(uploads=[Upload(path=file, name=name, caption=caption)], refused=[])
        async with receiving.lock_of(actor_id):
            told = await run_in_threadpool(_add_files, settings, actor_id, received)
    answer = {"files": told, "count": told[-1]["count"]} if is_zip else told[0]
    answer["size_bytes"] = size
    return JSONResponse(answer, status_code=201 if any(one["accepted"] for one in told) else 422)


@router.post("/actors/{actor_id}/pictures")
async def upload_form(request: Request, actor_id: str) -> Response:
    """The same without JavaScript: several files in one form, same-stem .txt files among them."""
    settings = settings_of(request)
    async with request.form(max_files=receiving.MOST_FILES, max_fields=receiving.MOST_FIELDS) as form:
        with ExitStack() as stack:
            scratch = await run_in_threadpool(lambda: stack.enter_context(files.store(settings).scratch()))
            received = await receiving.form(form, scratch)
            async with receiving.lock_of(actor_id):
                return await run_in_threadpool(_add_form, request, actor_id, received)


@router.post("/actors/{actor_id}/pictures/{picture_id}/remove")
def remove(request: Request, actor_id: str, picture_id: str) -> RedirectResponse:
    """Take a picture out of the set."""
    with studio(settings_of(request)) as open_:
        actor = open_.actor(actor_id)
        trainings.refuse_live(open_.session, actor, _NEVER_MIND)
        images.remove(open_.session, images.find(open_.session, actor, picture_id))
    return see_other(f"/actors/{actor_id}/pictures?removed={picture_id}")


@router.post("/actors/{actor_id}/pictures/{picture_id}/restore")
def restore(request: Request, actor_id: str, picture_id: str) -> RedirectResponse:
    """Put it back."""
    with studio(settings_of(request)) as open_:
        actor = open_.actor(actor_id)
        trainings.refuse_live(open_.session, actor, _NEVER_MIND)
        images.restore(open_.session, actor, images.find(open_.session, actor, picture_id, removed=True))
    return see_other(f"/actors/{actor_id}/pictures")


@router.post("/actors/{actor_id}/pictures/{picture_id}/crop")
def crop(request: Request, actor_id: str, picture_id: str) -> Response:
    """Crop it to its main face."""
    with studio(settings_of(request)) as open_:
        actor = open_.actor(actor_id)
        trainings.refuse_live(open_.session, actor, _NEVER_MIND)
        picture = images.find(open_.session, actor, picture_id)
        try:
            made = crops.to_face(open_.session, open_.store, actor, picture)
        except BadInput as error:
            return _page(request, open_, actor_id, status=error.http_status, problem=str(error))
        return see_other(f"/actors/{actor_id}/pictures#{made.id}")


@router.post("/actors/{actor_id}/pictures/{picture_id}/uncrop")
def uncrop(request: Request, actor_id: str, picture_id: str) -> Response:
    """Put the whole picture back."""
    with studio(settings_of(request)) as open_:
        actor = open_.actor(actor_id)
        trainings.refuse_live(open_.session, actor, _NEVER_MIND)
        picture = images.find(open_.session, actor, picture_id)
        try:
            whole = crops.undo(open_.session, actor, picture)
        except BadInput as error:
            return _page(request, open_, actor_id, status=error.http_status, problem=str(error))
        return see_other(f"/actors/{actor_id}/pictures#{whole.id}")


def _add_files(settings: Settings, actor_id: str, received: receiving.Received) -> list[dict[str, Any]]:
    """The verdict of each file as the page's script wants it, with the count of the set after all of them."""
    with studio(settings) as open_:
        actor = open_.actor(actor_id)
        trainings.refuse_live(open_.session, actor, _NEVER_MIND)
        try:
            verdicts = images.add(open_.session, open_.store, actor, received.uploads)
        except BadInput as error:
            verdicts = [
                Verdict(name=images.display_name(upload.name), accepted=False, reason=str(error))
                for upload in received.uploads
            ]
        count = len(images.list_(open_.session, actor))
        return [
            {
                "name": verdict.name,
                "accepted": verdict.accepted,
                "reason": verdict.reason,
                "notes": list(verdict.notes),
                "twin": verdict.twin,
                "count": count,
                "html": render("images/tile.html", actor=actor, picture=verdict.picture)
                if verdict.picture is not None
                else "",
            }
            for verdict in [*verdicts, *received.refused]
        ]


def _add_form(request: Request, actor_id: str, received: receiving.Received) -> Response:
    with studio(settings_of(request)) as open_:
        actor = open_.actor(actor_id)
        trainings.refuse_live(open_.session, actor, _NEVER_MIND)
        if not received.uploads and not received.refused:
            return _page(request, open_, actor_id, status=422, problem="Choose the pictures first.")
        try:
            verdicts = [*images.add(open_.session, open_.store, actor, received.uploads), *received.refused]
        except BadInput as error:
            return _page(request, open_, actor_id, status=422, problem=str(error))
        if all(verdict.accepted for verdict in verdicts):
            return see_other(f"/actors/{actor_id}/pictures")
        return _page(request, open_, actor_id, status=422, verdicts=verdicts)


def _page(
    request: Request,
    open_: Studio,
    actor_id: str,
    *,
    status: int = 200,
    problem: str = "",
    verdicts: list[Verdict] | None = None,
    removed: str = "",
) -> HTMLResponse:
    actor = open_.actor(actor_id)
    taken_out = None
    if removed:
        try:
            taken_out = images.find(open_.session, actor, removed, removed=True)
        except GreenroomError:
            taken_out = None  # an old address: there is nothing to bring back
    return page(
        "images/images.html",
        request,
        status=status,
        actor=actor,
        pictures=images.list_(open_.session, actor),
        fewest=open_.settings.min_pictures,
        most=open_.settings.max_pictures,
        most_bytes=open_.settings.max_picture_bytes,
        problem=problem,
        verdicts=verdicts or [],
        taken_out=taken_out if taken_out is not None and taken_out.removed_at is not None else None,
    )
