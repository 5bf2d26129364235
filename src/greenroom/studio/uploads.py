"""Finds the files of a folder that may be pictures, and the caption beside each. Decodes nothing."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from greenroom.errors import BadInput, TooManyImages
from greenroom.settings import current
from greenroom.studio import caption_files
from greenroom.studio.caption_files import CaptionFile

_MOST_FILES = 2_000


@dataclass(frozen=True, kw_only=True)
class Upload:
    """One file that a person gave, and the caption that came with it."""

    path: Path
    name: str
    caption: CaptionFile = field(default_factory=CaptionFile)


def in_folder(folder: Path) -> list[Upload]:
    """The files of a folder that may be pictures, by name, each with its same-stem .txt caption.

    Hidden files, caption files and subfolders are left out.
    Raises BadInput when there is no such folder or nothing in it.
    """
    folder = folder.expanduser()
    try:
        if not folder.is_dir():
            what = "is a file" if folder.exists() else "does not exist"
            raise BadInput(f"The folder {folder} {what}. Give the folder that holds the pictures.")
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        raise BadInput(
            f"The folder {folder} cannot be read ({error.strerror or error}). Check its permissions."
        ) from error
    # is_file() is false for pipes and devices, which could be read for ever.
    found = [e for e in entries if e.is_file() and not e.name.startswith(".") and e.suffix.lower() != ".txt"]
    if not found:
        inside = sum(entry.is_dir() for entry in entries)
        hint = f"; pictures in its {inside} subfolders are not looked at" if inside else ""
        what = "is empty" if not entries else "holds no pictures"
        raise BadInput(
            f"The folder {folder} {what}{hint}. Put JPEG or PNG files into it, or give another folder."
        )
    if len(found) > _MOST_FILES:
        raise TooManyImages(
            f"The folder {folder} holds {len(found)} files; at most {current().max_pictures} make an actor. "
            "Put the best ones into a folder of their own."
        )
    return [Upload(path=file, name=file.name, caption=_caption_beside(file)) for file in found]


def orphans(folder: Path) -> list[Path]:
    """Caption files of a folder that have no picture of their stem."""
    pictures = {upload.path.stem for upload in in_folder(folder)}
    return sorted(
        file
        for file in folder.expanduser().iterdir()
        if file.is_file() and caption_files.is_caption(file) and file.stem not in pictures
    )


def by_sha256(uploads: Iterable[Upload]) -> dict[str, Upload]:
    """Uploads by the sha256 of their file, without decoding; files over the size limit are left out."""
    most = current().max_picture_bytes
    found: dict[str, Upload] = {}
    for upload in uploads:
        # What cannot be read is told by the inspection, which it is then sent to.
        with contextlib.suppress(OSError):
            if upload.path.stat().st_size >= most:
                continue
            with upload.path.open("rb") as file:
                found.setdefault(hashlib.file_digest(file, "sha256").hexdigest(), upload)
    return found


def _caption_beside(picture: Path) -> CaptionFile:
    file = caption_files.beside(picture)
    return caption_files.read(file) if file else CaptionFile()
