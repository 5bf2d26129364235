"""Reads the .txt file beside a picture. Knows encodings and length, nothing about triggers."""

from __future__ import annotations

import codecs
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from greenroom.settings import current

# Four bytes are the most that UTF-8 needs for a character; more than this is no caption.
_BYTES_PER_CHAR = 4
_WIDE_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_NOT_CAPTIONS = {"credits", "license", "licence", "readme", "notice", "requirements"}


@dataclass(frozen=True, kw_only=True)
class CaptionFile:
    """What a caption file said: a text, or a problem with what to do; an empty file has neither."""

    text: str = ""
    problem: str = ""


def beside(picture: Path) -> Path | None:
    """The caption file of a picture: the same stem and .txt, in small or capital letters."""
    for suffix in (".txt", ".TXT", ".Txt"):
        file = picture.with_suffix(suffix)
        if file.is_file():
            return file
    return None


def is_caption(file: Path) -> bool:
    """True for a .txt file that may be a caption, false for the likes of CREDITS.txt."""
    return file.suffix.lower() == ".txt" and file.stem.lower() not in _NOT_CAPTIONS


def read(file: Path) -> CaptionFile:
    """The caption in a file: UTF-8, with or without a byte order mark."""
    most = current().max_caption_chars
    try:
        with file.open("rb") as opened:
            raw = opened.read(most * _BYTES_PER_CHAR + 1024)
    except OSError as error:
        return CaptionFile(problem=f"its caption file cannot be read ({error.strerror or error}); check it")
    if raw.startswith(_WIDE_MARKS) or b"\0" in raw:
        return CaptionFile(
            problem="its caption file is UTF-16 or UTF-32, not UTF-8; save it as UTF-8 and add it again"
        )
    try:
        text = codecs.decode(raw, "utf-8-sig")
    except UnicodeDecodeError as error:
        # NOTE: a cut in the middle of a character at the end of what was read is no wrong encoding.
        if error.start < len(raw) - _BYTES_PER_CHAR or len(raw) < most:
            return CaptionFile(
                problem=f"its caption file is not UTF-8 (byte {error.start + 1} is 0x{raw[error.start]:02x}, "
                "perhaps Latin-1 or Windows-1252); save it as UTF-8 and add it again"
            )
        text = raw[: error.start].decode("utf-8-sig", "ignore")
    cleaned = clean(text)
    if len(cleaned) > most:
        return CaptionFile(
            problem=f"its caption file has more than {most} characters; shorten it and add it again"
        )
    return CaptionFile(text=cleaned)


def clean(text: str) -> str:
    """One line without control characters; runs of white space become one space."""
    # Lone surrogates cannot be stored as UTF-8; marks of direction could make a caption read as another one.
    spaced = "".join(" " if char.isspace() else char for char in text)
    kept = (
        char for char in spaced if unicodedata.category(char) not in {"Cc", "Cs"} and char not in _DIRECTION
    )
    return " ".join("".join(kept).split())


_DIRECTION = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
