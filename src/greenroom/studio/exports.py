"""What a person takes away: the LoRA of a version in each key format, its card, and the set as a zip."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import RawIOBase
from typing import Any, Literal, get_args

from sqlalchemy.orm import Session

from greenroom import files
from greenroom.db.models import Actor, Training
from greenroom.errors import NotFound
from greenroom.studio import captions, images

What = Literal["lora", "kohya", "card"]
_CHUNK = 1 << 20
_ENDINGS = {"lora": ".safetensors", "kohya": "-kohya.safetensors", "card": "-card.json"}


@dataclass(frozen=True, kw_only=True)
class Export:
    """One file of a version that can be downloaded."""

    what: What
    key: str
    name: str
    """As the downloaded file is called."""
    size_bytes: int


def list_(store: files.Store, actor: Actor, training: Training) -> list[Export]:
    """Every file that a version can give."""
    found = []
    for what in get_args(What):
        key = {
            "lora": training.lora_key,
            "kohya": training.kohya_key,
            "card": files.beside(training.lora_key, "model-card.json") if training.lora_key else None,
        }[what]
        size = store.size(key) if key else None
        if key is not None and size is not None:
            name = f"{plain(actor.trigger)}-v{training.version}{_ENDINGS[what]}"
            found.append(Export(what=what, key=key, name=name, size_bytes=size))
    return found


def find(store: files.Store, actor: Actor, training: Training, what: What) -> Export:
    """One of them. Raises NotFound."""
    for export in list_(store, actor, training):
        if export.what == what:
            return export
    raise NotFound("This version has no such file. Choose another format or version.")


def content(store: files.Store, export: Export) -> Iterator[bytes]:
    """The file, a piece at a time."""
    with store.open(export.key) as file:
        while chunk := file.read(_CHUNK):
            yield bytes(chunk)


def dataset_pairs(session: Session, actor: Actor) -> list[tuple[str, str]]:
    """(picture key, caption in force) in the actor's order."""
    in_force = captions.all_(session, actor)
    return [
        (picture.key, in_force[picture.id].text if picture.id in in_force else "")
        for picture in images.list_(session, actor)
    ]


def dataset(store: files.Store, pairs: list[tuple[str, str]]) -> Iterator[bytes]:
    """A zip of the pictures, each with its caption beside it, a piece at a time; needs no session."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:
        for number, (key, text) in enumerate(pairs, start=1):
            archive.writestr(f"{number:04d}.png", store.get(key))
            archive.writestr(f"{number:04d}.txt", text + "\n")
            yield pipe.taken()
    yield pipe.taken()


def plain(trigger: str) -> str:
    """A trigger as part of a file name; its rules allow letters, digits, _ and - only."""
    return re.sub(r"[^A-Za-z0-9_-]", "", trigger) or "actor"


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
