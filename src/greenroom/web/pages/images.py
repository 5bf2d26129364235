"""Step three of Train New Model: pictures come in, one request each, and every file gets a verdict."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote
from weakref import WeakValueDictionary

from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.datastructures import UploadFile

from greenroom import files
from greenroom.errors import BadInput, GreenroomError, StorageError
from greenroom.settings import Settings
from greenroom.studio import caption_files, images, trainings
from greenroom.studio.caption_files import CaptionFile
from greenroom.studio.images import Upload, Verdict
from greenroom.web.edge import Studio, page, render, see_other, settings_of, studio

router = APIRouter()

_MOST_FILES = 120
_NEVER_MIND = "Let it end or cancel it before its pictures change"

# Two uploads of one actor are judged one after the other, so that twins are found and the limit holds.
_locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()


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
    """One file as the body of one request; X-Caption is its caption, percent-encoded. Answers its verdict."""
    settings = settings_of(request)
    with ExitStack() as stack:
        scratch = await run_in_threadpool(lambda: stack.enter_context(files.store(settings).scratch()))
        # The name that the person's file has never becomes part of a path.
        file = scratch / "upload"
        size = await _write(request.stream(), file)
        caption = CaptionFile(text=caption_files.clean(unquote(x_caption)))
        given = [Upload(path=file, name=name, caption=caption)]
        lock = _locks.setdefault(actor_id, asyncio.Lock())
        async with lock:
            answer = await run_in_threadpool(_add_one, settings, actor_id, given)
    answer["size_bytes"] = size
    return JSONResponse(answer, status_code=201 if answer["accepted"] else 422)


@router.post("/actors/{actor_id}/pictures")
async def upload_form(request: Request, actor_id: str) -> Response:
    """The same without JavaScript: several files in one form, same-stem .txt files among them."""
    settings = settings_of(request)
    async with request.form(max_files=_MOST_FILES, max_fields=10) as form:
        sent = [part for part in form.getlist("files") if isinstance(part, UploadFile) and part.filename]
        with ExitStack() as stack:
            scratch = await run_in_threadpool(lambda: stack.enter_context(files.store(settings).scratch()))
            given, texts = [], {}
            for number, part in enumerate(sent):
                name = part.filename or ""
                file = scratch / f"{number:03d}"
                await _write(_chunks(part), file)
                if name.lower().endswith(".txt"):
                    texts[name[:-4]] = caption_files.read(file)
                else:
                    given.append(Upload(path=file, name=name))
            given = [
                Upload(path=item.path, name=item.name, caption=texts.get(item.name.rpartition(".")[0], CaptionFile()))
                for item in given
            ]  # fmt: skip
            lock = _locks.setdefault(actor_id, asyncio.Lock())
            async with lock:
                return await run_in_threadpool(_add_form, request, actor_id, given)


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


def _add_one(settings: Settings, actor_id: str, given: list[Upload]) -> dict[str, object]:
    with studio(settings) as open_:
        actor = open_.actor(actor_id)
        trainings.refuse_live(open_.session, actor, _NEVER_MIND)
        name = images.display_name(given[0].name)
        try:
            verdict = images.add(open_.session, open_.store, actor, given)[0]
        except BadInput as error:
            verdict = Verdict(name=name, accepted=False, reason=str(error))
        count = len(images.list_(open_.session, actor))
        html = ""
        if verdict.picture is not None:
            html = render("images/tile.html", actor=actor, picture=verdict.picture)
        return {
            "name": verdict.name,
            "accepted": verdict.accepted,
            "reason": verdict.reason,
            "notes": list(verdict.notes),
            "twin": verdict.twin,
            "count": count,
            "html": html,
        }


def _add_form(request: Request, actor_id: str, given: list[Upload]) -> Response:
    with studio(settings_of(request)) as open_:
        actor = open_.actor(actor_id)
        trainings.refuse_live(open_.session, actor, _NEVER_MIND)
        if not given:
            return _page(request, open_, actor_id, status=422, problem="Choose the pictures first.")
        try:
            verdicts = images.add(open_.session, open_.store, actor, given)
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


async def _write(chunks: AsyncIterator[bytes], file: Path) -> int:
    """Stream a body to a file without keeping it in memory; returns its bytes."""
    size = 0
    try:
        out = await run_in_threadpool(file.open, "wb")
        with out:
            async for chunk in chunks:
                size += len(chunk)
                await run_in_threadpool(out.write, chunk)
    except OSError as error:
        raise StorageError(
            f"The upload could not be kept ({error.strerror or error}). Free some space and send it again."
        ) from error
    return size


async def _chunks(part: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await part.read(1 << 20):
        yield chunk
