"""Takes uploaded files off the network onto the disk, a piece at a time, under names of our making.

What they are is judged later, in a child process under limits; here a body is only kept, and a zip opened.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from weakref import WeakValueDictionary

from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from greenroom.errors import BadArchive, StorageError
from greenroom.studio import archives, caption_files, images
from greenroom.studio.caption_files import CaptionFile
from greenroom.studio.images import Upload, Verdict

MOST_FILES = 120
"""Parts of one form: fifty pictures, a caption for each, and some to spare."""
MOST_FIELDS = 10
MAX_NAME_CHARS = 1_000
_CHUNK = 1 << 20

# Two uploads of one actor are judged one after the other, so that twins are found and the limit holds.
_locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()


@dataclass(frozen=True, kw_only=True)
class Received:
    """Files that lie on the disk, and those that were refused before they were looked at."""

    uploads: list[Upload]
    refused: list[Verdict]


def lock_of(actor_id: str) -> asyncio.Lock:
    """Held while the pictures of an actor are judged and kept."""
    return _locks.setdefault(actor_id, asyncio.Lock())


async def body(chunks: AsyncIterator[bytes], file: Path) -> int:
    """Stream a body to a file without keeping it in memory; returns its bytes. Raises StorageError."""
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


async def form(sent: FormData, scratch: Path, *, field: str = "files") -> Received:
    """The files of a form: pictures, same-stem .txt files as their captions, and zips of both."""
    uploads: list[Upload] = []
    refused: list[Verdict] = []
    texts: dict[str, CaptionFile] = {}
    parts = [part for part in sent.getlist(field) if isinstance(part, UploadFile) and part.filename]
    for number, part in enumerate(parts):
        name = (part.filename or "")[:MAX_NAME_CHARS]
        file = scratch / f"{number:03d}"
        await body(_chunks(part), file)
        if name.lower().endswith(".txt"):
            texts[name[:-4]] = caption_files.read(file)
        elif await run_in_threadpool(archives.is_zip, file):
            opened = await run_in_threadpool(unzipped, file, name)
            uploads += opened.uploads
            refused += opened.refused
        else:
            uploads.append(Upload(path=file, name=name))
    return Received(
        uploads=[
            item
            if item.caption.text
            else replace(item, caption=texts.get(item.name.rpartition(".")[0], item.caption))
            for item in uploads
        ],
        refused=refused,
    )


def unzipped(file: Path, name: str) -> Received:
    """The pictures of a zip that lies in a scratch folder; a zip that cannot be opened is one refused file."""
    folder = file.with_name(f"{file.name}-in")
    folder.mkdir()
    try:
        opened = archives.open_(file, folder)
    except BadArchive as error:
        said = Verdict(name=images.display_name(name), accepted=False, reason=str(error))
        return Received(uploads=[], refused=[said])
    return Received(
        uploads=opened.uploads,
        refused=[
            Verdict(name=entry, accepted=False, reason=reason) for entry, reason in opened.refused.items()
        ],
    )


async def _chunks(part: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await part.read(_CHUNK):
        yield chunk
