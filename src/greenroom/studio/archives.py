"""Opens a zip of pictures and captions under limits. Names in it are shown and paired, never used as paths.

Nothing in a zip can be trusted: its table of contents may be huge or lie, an entry may be a link, another zip,
or a few bytes that grow to gigabytes. So the table is measured before it is read, and every entry is written to
a file whose name is made here, byte by byte against the limits.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from greenroom.errors import BadArchive
from greenroom.settings import current
from greenroom.studio import caption_files
from greenroom.studio.caption_files import CaptionFile
from greenroom.studio.inspecting import display_name
from greenroom.studio.uploads import Upload

MOST_ENTRIES = 500
_MOST_TABLE_BYTES = 1_000_000
_END_BYTES = 22 + 65_535
_CHUNK = 1 << 16
_LINK = 0xA000
_MOST_RATIO = 200
"""Pictures hardly shrink in a zip; a thousandfold growth is a bomb."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What was found in a zip: pictures with their captions, and by name why an entry was left out."""

    uploads: list[Upload]
    refused: dict[str, str]


def is_zip(file: Path) -> bool:
    """True for a file that begins like a zip."""
    with file.open("rb") as opened:
        return opened.read(4) in {b"PK\x03\x04", b"PK\x05\x06"}


def open_(file: Path, scratch: Path, *, most: int | None = None) -> Opened:
    """Unpack the pictures of a zip into `scratch`, each with the caption of the same stem in the same folder.

    most: how many pictures may come out (None: twice what an actor may have).
    Raises BadArchive when the zip is broken, encrypted, a bomb, or holds too much.
    """
    limit = most or 2 * current().max_pictures
    _check_table(file)
    try:
        with zipfile.ZipFile(file) as archive:
            return _unpacked(archive, scratch, limit)
    except (
        zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError,
        OSError,
    ) as error:  # fmt: skip
        raise BadArchive(
            f"The zip cannot be opened ({str(error)[:100] or type(error).__name__}). Pack it again."
        ) from error


def _unpacked(archive: zipfile.ZipFile, scratch: Path, limit: int) -> Opened:
    entries = [entry for entry in archive.infolist() if not _is_ignored(entry)]
    if len(entries) > MOST_ENTRIES:
        raise BadArchive(f"The zip holds {len(entries)} files; at most {MOST_ENTRIES} are taken. Split it.")
    if any(entry.flag_bits & 0x1 for entry in entries):
        raise BadArchive("The zip is locked with a password. Pack it without one.")
    pictures: list[tuple[str, Upload]] = []
    captions: dict[str, CaptionFile] = {}
    refused: dict[str, str] = {}
    most_bytes = current().max_picture_bytes
    for number, entry in enumerate(entries):
        name = display_name(entry.filename)
        stem = str(PurePosixPath(entry.filename.replace("\\", "/")).with_suffix(""))
        if (entry.external_attr >> 16) & 0xF000 == _LINK:
            refused[name] = "It is a link, not a picture. Put the picture itself into the zip."
            continue
        is_text = name.lower().endswith(".txt")
        most = 64_000 if is_text else most_bytes
        if entry.file_size >= most:
            refused[name] = f"It has {entry.file_size / 1e6:.1f} MB; it must be under {most / 1e6:.2g} MB."
            continue
        if entry.file_size > _MOST_RATIO * max(entry.compress_size, 1) and entry.file_size > 1_000_000:
            raise BadArchive(
                "The zip grows out of all measure when it is opened. Pack the pictures themselves."
            )
        if not is_text and len(pictures) >= limit:
            raise BadArchive(
                f"The zip holds more than {limit} pictures. Keep the best ones and pack it again."
            )
        out = scratch / f"zip-{number:04d}"
        _write(archive, entry, out, most)
        if is_text:
            captions[stem] = caption_files.read(out)
        else:
            pictures.append((stem, Upload(path=out, name=name)))
    uploads = [replace(upload, caption=captions.get(stem, CaptionFile())) for stem, upload in pictures]
    if not uploads and not refused:
        raise BadArchive("The zip holds no pictures. Pack JPEG or PNG files, each with its .txt beside it.")
    return Opened(uploads=uploads, refused=refused)


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, out: Path, most: int) -> None:
    """Never more bytes than were announced: what the table says may be a lie."""
    written = 0
    with archive.open(entry) as source, out.open("xb") as target:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > entry.file_size or written >= most:
                raise BadArchive("The zip holds more than its table of contents says. Pack it again.")
            target.write(chunk)


def _is_ignored(entry: zipfile.ZipInfo) -> bool:
    parts = entry.filename.replace("\\", "/").split("/")
    return entry.is_dir() or parts[0] == "__MACOSX" or parts[-1].startswith(".") or not parts[-1]


def _check_table(file: Path) -> None:
    """Measure the table of contents before zipfile reads all of it into memory. Raises BadArchive."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        opened.seek(max(0, size - _END_BYTES - 20))
        tail = opened.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        raise BadArchive("The zip is cut off or damaged. Pack it again.")
    # A zip of more than 4 GB or 65,535 files has a second table, which we have no use for.
    if b"PK\x06\x07" in tail[max(0, at - 20) : at]:
        raise BadArchive("The zip is too large. Split it.")
    entries, table_bytes = struct.unpack("<HI", tail[at + 10 : at + 16])
    if entries > 4 * MOST_ENTRIES or table_bytes > _MOST_TABLE_BYTES:
        raise BadArchive(f"The zip holds too many files; at most {MOST_ENTRIES} are taken. Split it.")
