"""The training pictures of an actor: uploaded, listed, taken out and put back."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from datetime import datetime

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from pydantic import Field
from starlette.exceptions import HTTPException

from greenroom import files
from greenroom.db.models import Caption
from greenroom.db.models import Picture as Row
from greenroom.errors import BadInput, WrongUse
from greenroom.settings import Settings
from greenroom.studio import captions, crops, images, replies, trainings
from greenroom.studio.images import Verdict
from greenroom.studio.replies import Answer
from greenroom.web import problems, receiving
from greenroom.web.api.common import Id, IdempotencyKey, Page, Told, answered, picture_of
from greenroom.web.edge import Studio, settings_of, studio
from greenroom.web.pages import media

router = APIRouter(tags=["pictures"])

_NEVER_MIND = "Let it end or cancel it before its pictures change"


class Picture(Told):
    """One training picture."""

    id: str = Field(examples=["pic_h7w3k9qz2m5x"])
    name: str = Field(examples=["kia-03.jpg"])
    width_px: int
    height_px: int
    size_bytes: int
    notes: list[str] = Field(description="What was changed on the way in.")
    caption: str | None = Field(examples=["KIA_01, laughing, in a park"])
    caption_revision: int = Field(description="0 while it has none.", examples=[1])
    file: str = Field(description="Path of the picture.")
    thumbnail: str = Field(description="Path of its thumbnail.")
    cropped_from: str | None = Field(description="Id of the picture that it was cut from.", examples=[None])
    created_at: datetime


class FileVerdict(Told):
    """What became of one file."""

    name: str = Field(examples=["kia-03.jpg"])
    accepted: bool
    reason: str = Field(description="Why it was refused and what to do; empty when it was accepted.")
    notes: list[str]
    twin: str | None = Field(description="Name of the picture that it repeats.", examples=[None])
    caption: str | None
    picture: Picture | None


class Uploaded(Told):
    """What became of an upload. One bad file never costs the others."""

    accepted: int
    refused: int
    pictures: int = Field(description="How many the actor has now.")
    verdicts: list[FileVerdict]


_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {
                            "type": "array",
                            "maxItems": receiving.MOST_FILES,
                            "items": {"type": "string", "format": "binary"},
                            "description": "JPEG and PNG pictures, .txt captions of the same stem, zips of both.",
                        }
                    },
                }
            }
        },
    }
}


@router.get("/actors/{actor_id}/pictures")
def list_pictures(request: Request, actor_id: Id) -> Page[Picture]:
    """The pictures of an actor, in their order."""
    with studio(settings_of(request)) as open_:
        actor = open_.actor(actor_id)
        in_force = captions.all_(open_.session, actor)
        found = images.list_(open_.session, actor)
        return Page[Picture](items=[told(picture, in_force.get(picture.id)) for picture in found])


@router.post("/actors/{actor_id}/pictures", status_code=201, response_model=Uploaded, openapi_extra=_UPLOAD)
async def upload_pictures(request: Request, actor_id: Id, key: IdempotencyKey = None) -> Response:
    """Several files or a zip; each gets a verdict. Answers 422, with the verdicts, when none was accepted."""
    settings = settings_of(request)
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise WrongUse("Send the files as multipart/form-data, in parts called files.")
    # Before the body is read: nobody uploads a gigabyte to learn that there is no such actor.
    await run_in_threadpool(_check, settings, actor_id)
    try:
        async with request.form(max_files=receiving.MOST_FILES, max_fields=receiving.MOST_FIELDS) as form:
            with ExitStack() as stack:
                scratch = await run_in_threadpool(
                    lambda: stack.enter_context(files.store(settings).scratch())
                )
                received = await receiving.form(form, scratch)
                async with receiving.lock_of(actor_id):
                    return await run_in_threadpool(_add, request, actor_id, received, key)
    except HTTPException as error:
        if error.status_code != 400:
            raise
        raise WrongUse(f"The form cannot be read: {error.detail}.") from error


@router.delete("/actors/{actor_id}/pictures/{picture_id}", status_code=204)
def remove_picture(request: Request, actor_id: Id, picture_id: Id) -> Response:
    """Take a picture out of the set; older versions keep theirs."""
    with studio(settings_of(request)) as open_:
        actor = open_.actor(actor_id)
        trainings.refuse_live(open_.session, actor, _NEVER_MIND)
        images.remove(open_.session, images.find(open_.session, actor, picture_id))
    return Response(status_code=204)


@router.post("/actors/{actor_id}/pictures/{picture_id}/restore")
def restore_picture(request: Request, actor_id: Id, picture_id: Id) -> Picture:
    """Put a picture back that was taken out."""
    with studio(settings_of(request)) as open_:
        actor = open_.actor(actor_id)
        trainings.refuse_live(open_.session, actor, _NEVER_MIND)
        picture = images.find(open_.session, actor, picture_id, removed=True)
        images.restore(open_.session, actor, picture)
        return told(picture, captions.latest(open_.session, picture))


@router.post("/actors/{actor_id}/pictures/{picture_id}/crop", status_code=201)
def crop_picture(request: Request, actor_id: Id, picture_id: Id) -> Picture:
    """Put a crop to its main face in the picture's place; the crop is a picture of its own."""
    with studio(settings_of(request)) as open_:
        actor = open_.actor(actor_id)
        trainings.refuse_live(open_.session, actor, _NEVER_MIND)
        picture = images.find(open_.session, actor, picture_id)
        made = crops.to_face(open_.session, open_.store, actor, picture)
        return told(made, captions.latest(open_.session, made))


@router.delete("/actors/{actor_id}/pictures/{picture_id}/crop")
def uncrop_picture(request: Request, actor_id: Id, picture_id: Id) -> Picture:
    """Take a crop back; answers the whole picture, which is in the set again."""
    with studio(settings_of(request)) as open_:
        actor = open_.actor(actor_id)
        trainings.refuse_live(open_.session, actor, _NEVER_MIND)
        whole = crops.undo(open_.session, actor, images.find(open_.session, actor, picture_id))
        return told(whole, captions.latest(open_.session, whole))


@router.get("/pictures/{picture_id}/file", response_class=Response, responses=picture_of("image/png"))
def picture_file(request: Request, picture_id: Id) -> Response:
    """The picture as it is trained on: upright RGB PNG without metadata."""
    return media.picture(request, picture_id)


@router.get("/pictures/{picture_id}/thumbnail", response_class=Response, responses=picture_of("image/webp"))
def picture_thumbnail(request: Request, picture_id: Id) -> Response:
    """The picture, small."""
    return media.thumbnail(request, picture_id)


def told(picture: Row, caption: Caption | None) -> Picture:
    """A picture as the API tells it."""
    return Picture(
        id=picture.id,
        name=picture.original_name,
        width_px=picture.width_px,
        height_px=picture.height_px,
        size_bytes=picture.size_bytes,
        notes=[str(note) for note in picture.notes],
        caption=caption.text if caption is not None else None,
        caption_revision=caption.revision if caption is not None else 0,
        file=f"/api/v1/pictures/{picture.id}/file",
        thumbnail=f"/api/v1/pictures/{picture.id}/thumbnail",
        cropped_from=picture.cropped_from_id,
        created_at=picture.created_at,
    )


def _check(settings: Settings, actor_id: str) -> None:
    with studio(settings) as open_:
        trainings.refuse_live(open_.session, open_.actor(actor_id), _NEVER_MIND)


def _add(request: Request, actor_id: str, received: receiving.Received, key: str | None) -> Response:
    with studio(settings_of(request)) as open_:
        seen = _fingerprint(request, received) if key is not None else ""
        if key is not None and (before := replies.find(open_.session, open_.workspace, key, seen)):
            return answered(before, is_replayed=True)
        uploaded = _verdicts(open_, actor_id, received)
        if not uploaded.accepted:
            first = next((verdict.reason for verdict in uploaded.verdicts), "No files came.")
            said = f"No picture was accepted. {first}"
            shown = uploaded.model_dump(mode="json")["verdicts"]
            return problems.problem(422, "BadPicture", said, request.url.path, verdicts=shown)
        answer = Answer(status=201, body=uploaded.model_dump(mode="json"))
        if key is not None:
            replies.keep(open_.session, open_.workspace, key, seen, answer)
    return JSONResponse(answer.body, status_code=201)


def _fingerprint(request: Request, received: receiving.Received) -> str:
    files_ = []
    for upload in received.uploads:
        with upload.path.open("rb") as file:
            files_.append((upload.name, hashlib.file_digest(file, "sha256").hexdigest()))
    return replies.fingerprint(request.url.path, files_, [verdict.name for verdict in received.refused])


def _verdicts(open_: Studio, actor_id: str, received: receiving.Received) -> Uploaded:
    actor = open_.actor(actor_id)
    trainings.refuse_live(open_.session, actor, _NEVER_MIND)
    if not received.uploads and not received.refused:
        raise BadInput("The form has no files. Send them in parts called files, each with a file name.")
    verdicts = [*images.add(open_.session, open_.store, actor, received.uploads), *received.refused]
    in_force = captions.all_(open_.session, actor)
    accepted = sum(verdict.accepted for verdict in verdicts)
    return Uploaded(
        accepted=accepted,
        refused=len(verdicts) - accepted,
        pictures=len(images.list_(open_.session, actor)),
        verdicts=[_told_verdict(verdict, in_force) for verdict in verdicts],
    )


def _told_verdict(verdict: Verdict, in_force: dict[str, Caption]) -> FileVerdict:
    picture = verdict.picture
    return FileVerdict(
        name=verdict.name,
        accepted=verdict.accepted,
        reason=verdict.reason,
        notes=list(verdict.notes),
        twin=verdict.twin,
        caption=verdict.caption,
        picture=told(picture, in_force.get(picture.id)) if picture is not None else None,
    )
