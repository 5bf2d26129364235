"""Where files live: the key layout, and put/get/open/local_copy over one obstore store (file:// or s3://).

Knows bytes and keys. Every key is made here from ids of the server's making, never from what a person typed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, from_url

from greenroom.errors import NotFound, StorageError
from greenroom.settings import Settings

MAX_KEY_CHARS = 255
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
PREFIXES = ("actors", "generations")
_COPY_CHUNK = 1 << 20
_SCRATCH_AGE_S = 24 * 3600
_SCRATCH = ".scratch"  # begins with a dot, so that no key can name it


def picture_key(actor_id: str, picture_id: str) -> str:
    """A training picture, PNG."""
    return f"actors/{actor_id}/pictures/{picture_id}.png"


def thumbnail_key(actor_id: str, picture_id: str) -> str:
    """Its thumbnail, WebP."""
    return f"actors/{actor_id}/thumbnails/{picture_id}.webp"


def export_key(actor_id: str, training_id: str, name: str) -> str:
    """A file of a version's export/ folder: lora.safetensors, lora-kohya.safetensors, model-card.json, …"""
    return f"actors/{actor_id}/trainings/{training_id}/export/{name}"


def sample_key(actor_id: str, training_id: str, step: int, index: int) -> str:
    """A sample picture of a checkpoint."""
    return f"actors/{actor_id}/trainings/{training_id}/samples/step-{step:06d}-{index:02d}.png"


def checkpoint_key(actor_id: str, training_id: str, step: int, name: str) -> str:
    """A file of a checkpoint."""
    return f"actors/{actor_id}/trainings/{training_id}/checkpoints/step-{step:06d}/{name}"


def sheet_key(actor_id: str, training_id: str, step: int) -> str:
    """The pictures that a checkpoint was measured on; step 0 is the base without the LoRA."""
    return checkpoint_key(actor_id, training_id, step, "sheet.png")


def beside(key: str, name: str) -> str:
    """The key of another file in the same folder."""
    return f"{key.rpartition('/')[0]}/{name}"


def made_key(generation_id: str, picture_id: str) -> str:
    """A picture that was drawn."""
    return f"generations/{generation_id}/{picture_id}.png"


def actor_prefix(actor_id: str) -> str:
    """Everything of one actor."""
    return f"actors/{actor_id}"


def generation_prefix(generation_id: str) -> str:
    """Everything of one generation."""
    return f"generations/{generation_id}"


class Store:
    """Files by key. Trouble with disk or server leaves as StorageError, a missing key as NotFound."""

    def __init__(self, url: str) -> None:
        self.url = url
        with _storage_errors(url):
            if url.startswith("file://"):
                root = _made(Path(unquote(urlsplit(url).path)))
                self.root: Path | None = root
                self._store: Any = LocalStore(prefix=root)
            else:
                self.root = None
                self._store = from_url(url)

    def put(self, key: str, content: bytes | Path) -> None:
        """Write a whole file in one step: a reader sees the old one, or the new one, never a part."""
        with _storage_errors(key):
            obstore.put(self._store, checked(key), content)

    def get(self, key: str) -> bytes:
        """The whole file; for small ones."""
        with _storage_errors(key):
            return bytes(obstore.get(self._store, checked(key)).bytes())

    @contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        """The file for reading, fetched as it is read."""
        with _storage_errors(key):
            path = self.path(key)
            opened: Any = path.open("rb") if path else obstore.open_reader(self._store, checked(key))
        with contextlib.closing(opened):
            yield opened

    def local_copy(self, key: str, to: Path) -> Path:
        """Copy the file to a path of this machine, in one step, and return the path."""
        _made(to.parent)
        staged = to.with_name(f".{to.name}.{os.getpid()}.part")
        with _storage_errors(f"{to.name} (a copy of {key})"):
            try:
                with staged.open("wb") as out:
                    for chunk in obstore.get(self._store, checked(key)).stream(min_chunk_size=_COPY_CHUNK):
                        out.write(chunk)
                staged.replace(to)
            finally:
                staged.unlink(missing_ok=True)
        return to

    def path(self, key: str) -> Path | None:
        """Where the file lies on this machine; None when the store is elsewhere. For reading only."""
        return self.root / checked(key) if self.root is not None else None

    def exists(self, key: str) -> bool:
        """True when there is such a file."""
        return self.size(key) is not None

    def size(self, key: str) -> int | None:
        """Bytes of the file, None when there is no such file."""
        try:
            with _storage_errors(key):
                return int(obstore.head(self._store, checked(key))["size"])
        except NotFound:
            return None

    def list_(self, prefix: str, before: datetime | None = None) -> list[str]:
        """Every key below a prefix, sorted. before: only those that were written before then."""
        with _storage_errors(prefix):
            batches = obstore.list(self._store, prefix=checked(prefix))
            found = [meta for batch in batches for meta in batch]
        return sorted(meta["path"] for meta in found if before is None or meta["last_modified"] < before)

    def delete(self, key: str) -> None:
        """Remove a file; a missing one is fine."""
        with contextlib.suppress(NotFound), _storage_errors(key):
            obstore.delete(self._store, checked(key))

    def delete_prefix(self, prefix: str) -> int:
        """Remove every file below a prefix and return how many there were."""
        keys = self.list_(prefix)
        for key in keys:
            self.delete(key)
        if self.root is not None:
            # A local store keeps empty folders, which would show that something had been there.
            shutil.rmtree(self.root / checked(prefix), ignore_errors=True)
        return len(keys)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for work in progress, on the disk of the store where it has one; gone afterwards."""
        with _storage_errors("scratch"):
            home = None if self.root is None else self.root / _SCRATCH
            if home is not None:
                home.mkdir(exist_ok=True)
                _forget_old(home)
            folder = Path(tempfile.mkdtemp(dir=home))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def store(settings: Settings) -> Store:
    """The store of these settings, made once in a process for each URL."""
    if not settings.files_url:
        settings.make_home()
    return _store(settings.files)


@lru_cache(maxsize=8)
def _store(url: str) -> Store:
    return Store(url)


def checked(key: str) -> str:
    """The key itself when it is one of ours: plain names joined by slashes.

    Raises ValueError otherwise: that is a bug of ours, as no key comes from a person.
    """
    if len(key) > MAX_KEY_CHARS or not all(_PART.fullmatch(part) for part in key.split("/")):
        raise ValueError(f"not a key: {key!r}")
    return key


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"The folder {folder} cannot be made ({error.strerror or error}). "
            "Unlock it, or set GREENROOM_HOME or GREENROOM_FILES_URL to another place."
        ) from error
    return folder


@contextmanager
def _storage_errors(what: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotFoundError) as error:
        raise NotFound(
            f"The file {what} is not in the store. Restore it from a backup or make it again."
        ) from error
    except (OSError, BaseError) as error:
        raise StorageError(_sentence(what, str(error))) from error


def _sentence(what: str, said: str) -> str:
    low = said.lower()
    if "no space left" in low or "os error 28" in low or "errno 28" in low or "quota" in low:
        return f"The disk is full: {what} was not written. Free some space and do it again."
    if "read-only" in low or "denied" in low or "not permitted" in low or "os error 13" in low:
        return f"The store cannot be written: {what} ({_short(said)}). Unlock it or set GREENROOM_FILES_URL."
    return f"The store failed at {what} ({_short(said)}). Check GREENROOM_HOME and GREENROOM_FILES_URL."


def _short(said: str) -> str:
    line = said.strip().splitlines()[0] if said.strip() else "no reason given"
    return line if len(line) <= 200 else line[:199] + "…"


def _forget_old(home: Path) -> None:
    """Remove what killed processes left; by age, as a process of another machine may share the folder."""
    for folder in home.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _SCRATCH_AGE_S:
                shutil.rmtree(folder)
