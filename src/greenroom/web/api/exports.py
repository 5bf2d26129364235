"""What is taken away: the weights of a version in each key format, its card, and the set as a zip."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import StreamingResponse
from pydantic import Field

from greenroom.studio import exports
from greenroom.web.api.common import BINARY, Id, Page, Told
from greenroom.web.edge import settings_of, studio
from greenroom.web.pages import exports as downloads

router = APIRouter(tags=["exports"])


class Export(Told):
    """One file of a version."""

    what: exports.What
    name: str = Field(examples=["KIA_01-v1.safetensors"])
    size_bytes: int
    file: str = Field(description="Path of the file.")


@router.get("/trainings/{training_id}/exports")
def list_exports(request: Request, training_id: Id) -> Page[Export]:
    """The files that a version can give; empty before it is done."""
    with studio(settings_of(request)) as open_:
        training, actor = open_.training(training_id)
        found = exports.list_(open_.store, actor, training)
    items = [
        Export(
            what=export.what,
            name=export.name,
            size_bytes=export.size_bytes,
            file=f"/api/v1/trainings/{training_id}/exports/{export.what}",
        )
        for export in found
    ]
    return Page[Export](items=items)


@router.get("/trainings/{training_id}/exports/{what}", response_class=StreamingResponse, responses=BINARY)
def get_export(
    request: Request,
    training_id: Id,
    what: Annotated[
        exports.What,
        Path(description="lora: diffusers keys; kohya: for ComfyUI and Forge; card: the model card."),
    ],
) -> StreamingResponse:
    """One of them."""
    return downloads.weights(request, training_id, what)


@router.get("/actors/{actor_id}/dataset", response_class=StreamingResponse, responses=BINARY)
def get_dataset(request: Request, actor_id: Id) -> StreamingResponse:
    """The pictures and captions as a zip that every other trainer takes."""
    return downloads.dataset(request, actor_id)
