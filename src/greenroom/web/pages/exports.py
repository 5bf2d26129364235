"""What a person takes away: the LoRA in each key format, and the pictures with their captions as a zip."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from io import RawIOBase
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from greenroom import files
from greenroom.errors import NotFound
from greenroom.studio import captions, images
from greenroom.web.edge import settings_of, studio

router = APIRouter()

_CHUNK = 1 << 20


@router.get("/trainings/{training_id}/export/{what}")
def weights(request: Request, training_id: str, what: Literal["lora", "kohya", "card"]) -> StreamingResponse:
    """The weights of one version, or its model card."""
    with studio(settings_of(request)) as open_:
        training, actor = open_.training(training_id)
        key = {
            "lora": training.lora_key,
            "kohya": training.kohya_key,
            "card": files.export_key(actor.id, training.id, "model-card.json") if training.lora_key else None,
        }[what]
        size = open_.store.size(key) if key else None
        if key is None or size is None:
            raise NotFound("This version has no such file. Choose another format or version.")
        ending = {"lora": ".safetensors", "kohya": "-kohya.safetensors", "card": "-card.json"}[what]
        store = open_.store
        name = f"{_plain(actor.trigger)}-v{training.version}{ending}"

    def content() -> Iterator[bytes]:
        with store.open(key) as file:
            while chunk := file.read(_CHUNK):
                yield bytes(chunk)

    return _download(content(), name, "application/octet-stream", size)


@router.get("/actors/{actor_id}/export/dataset")
def dataset(request: Request, actor_id: str) -> StreamingResponse:
    """The pictures, each with its caption beside it, as every other trainer takes them."""
    with studio(settings_of(request)) as open_:
        actor = open_.actor(actor_id)
        in_force = captions.all_(open_.session, actor)
        pairs = [
            (picture.key, in_force[picture.id].text if picture.id in in_force else "")
            for picture in images.list_(open_.session, actor)
        ]
        store, name = open_.store, f"{_plain(actor.trigger)}-dataset.zip"

    def content() -> Iterator[bytes]:
        pipe = _Pipe()
        with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:
            for number, (key, text) in enumerate(pairs, start=1):
                archive.writestr(f"{number:04d}.png", store.get(key))
                archive.writestr(f"{number:04d}.txt", text + "\n")
                yield pipe.taken()
        yield pipe.taken()

    return _download(content(), name, "application/zip", None)


class _Pipe(RawIOBase):
    """What zipfile writes to and the answer reads from, so that no whole archive is ever in memory."""

    def __init__(self) -> None:
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._held += data
        return len(data)

    def taken(self) -> bytes:
        """What was written since the last time."""
        held, self._held = bytes(self._held), bytearray()
        return held


def _download(content: Iterator[bytes], name: str, kind: str, size: int | None) -> StreamingResponse:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    if size is not None:
        headers["content-length"] = str(size)
    return StreamingResponse(content, media_type=kind, headers=headers)


def _plain(trigger: str) -> str:
    """A trigger as a file name; its rules allow letters, digits, _ and - only."""
    return re.sub(r"[^A-Za-z0-9_-]", "", trigger) or "actor"
