"""Serves pictures by the ids of their rows, never by a path, each with the one content type it can have."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from greenroom import files
from greenroom.db.models import Checkpoint, Picture
from greenroom.errors import GreenroomError, UnknownPicture
from greenroom.studio import generations
from greenroom.web.edge import Studio, settings_of, studio

router = APIRouter()

# Written once under an id that is never used again; private, as they are the person's own pictures.
_AT_ONCE_BYTES = 1 << 20
_KEPT = {"cache-control": "private, max-age=31536000, immutable"}


@router.get("/media/thumbnails/{picture_id}")
def thumbnail(request: Request, picture_id: str) -> Response:
    """A training picture, small."""
    with studio(settings_of(request)) as open_:
        return _sent(open_.store, _picture(open_, picture_id).thumbnail_key, "image/webp")


@router.get("/media/pictures/{picture_id}")
def picture(request: Request, picture_id: str) -> Response:
    """A training picture as it is trained on."""
    with studio(settings_of(request)) as open_:
        return _sent(open_.store, _picture(open_, picture_id).key, "image/png")


@router.get("/media/samples/{checkpoint_id}/{index}")
def sample(request: Request, checkpoint_id: str, index: int) -> Response:
    """A sample picture of a checkpoint."""
    with studio(settings_of(request)) as open_:
        checkpoint = open_.session.get(Checkpoint, checkpoint_id)
        if checkpoint is None or not 0 <= index < len(checkpoint.sample_keys):
            raise _unknown()
        open_.training(checkpoint.training_id)
        return _sent(open_.store, checkpoint.sample_keys[index], "image/png")


@router.get("/media/made/{picture_id}")
def made(request: Request, picture_id: str, download: bool = False) -> Response:
    """A picture that was drawn."""
    with studio(settings_of(request)) as open_:
        row = generations.find_picture(open_.session, open_.workspace, picture_id)
        answer = _sent(open_.store, row.key, "image/png")
        if download:
            answer.headers["content-disposition"] = f'attachment; filename="greenroom-{row.seed}.png"'
        return answer


def _picture(open_: Studio, picture_id: str) -> Picture:
    row = open_.session.get(Picture, picture_id)
    if row is None:
        raise _unknown()
    try:
        open_.actor(row.actor_id, deleted=True)
    except GreenroomError as error:
        raise _unknown() from error
    return row


def _sent(store: files.Store, key: str, kind: str) -> Response:
    size = store.size(key)
    if size is None or size <= _AT_ONCE_BYTES:
        return Response(store.get(key), media_type=kind, headers=_KEPT)

    def content() -> Iterator[bytes]:
        with store.open(key) as file:
            while chunk := file.read(_AT_ONCE_BYTES):
                yield bytes(chunk)

    # A picture of 64 megapixels has up to 200 MB: never all of it in memory.
    return StreamingResponse(content(), media_type=kind, headers={**_KEPT, "content-length": str(size)})


def _unknown() -> UnknownPicture:
    return UnknownPicture("There is no such picture here. Go back to your models.")
