"""What a person takes away: the LoRA in each key format, and the pictures with their captions as a zip."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from greenroom.studio import exports
from greenroom.web.edge import settings_of, studio

router = APIRouter()


@router.get("/trainings/{training_id}/export/{what}")
def weights(request: Request, training_id: str, what: exports.What) -> StreamingResponse:
    """The weights of one version, or its model card."""
    with studio(settings_of(request)) as open_:
        training, actor = open_.training(training_id)
        export = exports.find(open_.store, actor, training, what)
        store = open_.store
    content = exports.content(store, export)
    return download(content, export.name, "application/octet-stream", export.size_bytes)


@router.get("/actors/{actor_id}/export/dataset")
def dataset(request: Request, actor_id: str) -> StreamingResponse:
    """The pictures, each with its caption beside it, as every other trainer takes them."""
    with studio(settings_of(request)) as open_:
        actor = open_.actor(actor_id)
        pairs, store = exports.dataset_pairs(open_.session, actor), open_.store
    name = f"{exports.plain(actor.trigger)}-dataset.zip"
    return download(exports.dataset(store, pairs), name, "application/zip", None)


def download(content: Iterator[bytes], name: str, kind: str, size: int | None) -> StreamingResponse:
    """A file to be saved, never shown; `name` holds plain letters only."""
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    if size is not None:
        headers["content-length"] = str(size)
    return StreamingResponse(content, media_type=kind, headers=headers)
