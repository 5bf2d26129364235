"""Judges uploaded files by sending them through decode.py's child processes. Knows no database and no store.

The children are few and live for one batch: starting one costs about as much as decoding a small picture.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import unicodedata
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import greenroom
from greenroom.errors import StorageError
from greenroom.settings import current

WALL_S = 120
"""A child that does not answer about one picture for this long is ended."""
MAX_NAME_CHARS = 255
_MOST_CHILDREN = 4


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A picture that can be used; png and thumbnail are set when it was decoded into a folder."""

    name: str
    size_bytes: int
    width_px: int
    height_px: int
    upload_sha256: str
    pixels_sha256: str
    notes: tuple[str, ...] = ()
    sha256: str | None = None
    png: Path | None = None
    thumbnail: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A file that cannot be used, and why, in a sentence that says what to do."""

    name: str
    reason: str


Inspected = Accepted | Refused


def inspect(source: Path | bytes, name: str, *, out: Path | None = None) -> Inspected:
    """Judge one file by its content; `name` is only shown. With `out` the clean PNG is written there."""
    if isinstance(source, Path):
        return next(inspect_all([(source, name)], out=out))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "upload"
        file.write_bytes(source)
        return next(inspect_all([(file, name)], out=out))


def inspect_all(sources: Sequence[tuple[Path, str]], *, out: Path | None = None) -> Iterator[Inspected]:
    """Judge many files, in their order; each result comes as soon as it and those before it are known.

    With `out` the clean pictures are written there as NNNN.png and NNNN.webp, by their place in `sources`;
    raises StorageError when they cannot be.
    """
    limits = current()
    with _children(min(len(sources), os.cpu_count() or 1, _MOST_CHILDREN)) as pool:

        def judge(index: int, file: Path, name: str) -> Inspected:
            shown = display_name(name)
            try:
                size = file.stat().st_size
            except OSError as error:
                return Refused(name=shown, reason=f"It cannot be read ({error.strerror}). Check the file.")
            if size >= limits.max_picture_bytes:
                return Refused(name=shown, reason=_too_heavy(size, limits.max_picture_bytes))
            stem = f"{index:04d}"
            facts = _ask(
                pool,
                {
                    "path": str(file.absolute()),
                    "max_pixels": limits.max_pixels,
                    "min_side_px": limits.min_side_px,
                    "out": None if out is None else str(out.absolute()),
                    "stem": stem,
                },
            )
            if "storage" in facts:
                # Every other file would fail the same way, and none of them is to blame.
                raise StorageError(
                    f"There is no room to work on {shown} ({facts['storage']}). "
                    "Free some disk space and do it again."
                )
            if "reason" in facts:
                return Refused(name=shown, reason=facts["reason"])
            return Accepted(
                name=shown,
                size_bytes=size,
                notes=tuple(facts.pop("notes")),
                png=None if out is None else out / f"{stem}.png",
                thumbnail=None if out is None else out / f"{stem}.webp",
                **facts,
            )

        yield from _ordered(judge, sources, pool.qsize())


def display_name(name: str) -> str:
    """What of a file's name may be shown: its last part, printable, at most 255 characters. Never a path."""
    last = re.split(r"[/\\]", name)[-1]
    # Controls, and the marks that turn the direction of text, which could make "gnp.exe" read as "exe.png".
    shown = "".join(
        "" if unicodedata.category(char) in {"Cc", "Cf"} and char != "\u200d" else char for char in last
    )
    shown = shown.encode("utf-8", "replace").decode("utf-8").strip()
    if len(shown) > MAX_NAME_CHARS:
        stem, dot, suffix = shown.rpartition(".")
        keep = dot + suffix if stem and len(suffix) <= 8 else ""
        shown = shown[: MAX_NAME_CHARS - len(keep) - 1] + "…" + keep
    return shown if shown.strip(".") else "picture"


def _too_heavy(size: int, most: int) -> str:
    limit = f"a picture must be under {most / 1e6:.0f} MB"
    return f"It has {size / 1e6:.1f} MB; {limit}. Save it smaller and add it again."


def _ask(pool: SimpleQueue[_Child], request: dict[str, Any]) -> dict[str, Any]:
    child = pool.get()
    try:
        return child.ask(request)
    finally:
        pool.put(child)


class _Child:
    """One decoding process, started at its first question and again after its death."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        process = self._process = self._process or _launch()
        assert process.stdin is not None
        assert process.stdout is not None
        clock = threading.Timer(WALL_S, process.kill)
        clock.start()
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            clock.cancel()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        self.close()
        return {
            "reason": "It takes more time or memory to decode than allowed. Save it smaller and add it again."
        }

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _launch() -> subprocess.Popen[str]:
    # No more of the environment than Python needs: a broken picture finds no keys or passwords in there.
    environment = {
        name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH") if name in os.environ
    }
    environment["PYTHONPATH"] = str(Path(greenroom.__file__).parent.parent)
    return subprocess.Popen(
        [sys.executable, "-m", "greenroom.studio.decode"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        encoding="utf-8",
    )


@contextmanager
def _children(count: int) -> Iterator[SimpleQueue[_Child]]:
    children = [_Child() for _ in range(max(count, 1))]
    pool: SimpleQueue[_Child] = SimpleQueue()
    for child in children:
        pool.put(child)
    try:
        yield pool
    finally:
        for child in children:
            child.close()


def _ordered(
    judge: Callable[[int, Path, str], Inspected], sources: Sequence[tuple[Path, str]], workers: int
) -> Iterator[Inspected]:
    """Results in order; little work is begun ahead, so that a caller who stops early saves the rest."""
    threads = ThreadPoolExecutor(max_workers=workers)
    running: deque[Future[Inspected]] = deque()
    try:
        for index, (file, name) in enumerate(sources):
            running.append(threads.submit(judge, index, file, name))
            if len(running) > workers:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        threads.shutdown(wait=True, cancel_futures=True)
