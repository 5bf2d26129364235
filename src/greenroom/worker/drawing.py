"""Does a generation job: sends the request to a warm child and keeps the pictures it draws.

Knows the studio's records and the child's lines; knows nothing about torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from greenroom import errors, files, runners
from greenroom.db import session as db
from greenroom.db.models import Job, new_id
from greenroom.ml import events
from greenroom.runners import Running
from greenroom.settings import Settings
from greenroom.studio import generations
from greenroom.worker.watch import Watch, attend, failure, unexplained

WARM_FOR_S = 15 * 60


class Painter:
    """A warm `ml.generate --serve` child: the base stays loaded between pictures."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.child: Running | None = None
        self.last_used = time.monotonic()

    def ready(self) -> Running:
        """The child, launched if it is not there."""
        self.last_used = time.monotonic()
        while self.child is not None and self.child.next_line(0) is not None:
            pass  # left over from a request that was stopped
        if self.child is None or self.child.ended() is not None:
            self.close()
            log = self.settings.make_home() / "logs" / "generate.log"
            self.child = runners.get(self.settings.runner).launch(
                "greenroom.ml.generate", ["--serve"], log=log
            )
        return self.child

    def rest(self) -> None:
        """Give the memory back after a while without work."""
        if self.child is not None and time.monotonic() - self.last_used > WARM_FOR_S:
            self.close()

    def close(self) -> None:
        """End the child."""
        if self.child is not None:
            self.child.close()
            self.child = None


def draw(settings: Settings, job: Job, watch: Watch, painter: Painter) -> None:
    """Draw a claimed generation and record its pictures. Raises what broke it, or Cancelled."""
    store = files.store(settings)
    out_dir = settings.runs / job.target_id
    with db.session(settings) as session:
        generation = generations.find(session, job.target_id)
        cast = generations.plan(generation).cast
        loras = {member.training_id: _lora_file(settings, store, member) for member in cast}
        request = generations.config(session, generation, loras, out_dir)
    request = request.model_copy(update={"device": settings.device})
    shutil.rmtree(out_dir, ignore_errors=True)
    out_dir.mkdir(parents=True)

    drawn: list[tuple[Path, int]] = []
    is_done = threading.Event()

    def read(line: str) -> None:
        said = _json(line)
        if said.get("event") in ("progress", "note"):
            watch.on_event(events.parse(line))
        elif said.get("event") == "picture":
            drawn.append((Path(said["file"]), int(said["seed"])))
        elif said.get("event") == "failed":
            raise failure(said["code"], f"{said['message']} {said.get('remedy', '')}".strip())
        elif said.get("event") == "done":
            is_done.set()

    child = painter.ready()
    try:
        with contextlib.suppress(BrokenPipeError):  # it has just died; _attend tells why
            child.send(request.model_dump_json())
        ended = attend(settings, job, child, watch, read, until=is_done)
    except (errors.Cancelled, errors.Conflict, errors.StorageError):
        painter.close()  # it may be in the middle of a picture that nobody waits for
        raise
    if ended is not None:
        raise unexplained("drawing", ended, "Ask again, with a smaller size or another base if it repeats.")

    keys = [(files.made_key(generation.id, new_id("mad")), file, seed) for file, seed in drawn]
    for key, file, _ in keys:
        store.put(key, file)
    with db.session(settings) as session:
        generation = generations.find(session, generation.id)
        for key, _, seed in keys:
            generations.add_picture(
                session,
                generation,
                key=key,
                seed=seed,
                prompt=request.prompt,
                width_px=request.width_px,
                height_px=request.height_px,
            )
        generations.complete(session, generation)
    shutil.rmtree(out_dir, ignore_errors=True)


def _lora_file(settings: Settings, store: files.Store, member: generations.CastMember) -> Path:
    """The actor's weights on this machine; the same path each time, so that a warm child knows them again."""
    here = store.path(member.lora_key)
    if here is not None:
        return here
    copy = (
        settings.home_folder
        / "cache"
        / "loras"
        / f"{member.training_id}-{_short(member.lora_key)}.safetensors"
    )
    return copy if copy.exists() else store.local_copy(member.lora_key, copy)


def _short(key: str) -> str:
    """Tells the checkpoints of one version apart."""
    return hashlib.sha256(key.encode()).hexdigest()[:8]


def _json(line: str) -> dict[str, Any]:
    """The line as an object; an empty one when it is something that a library printed."""
    with contextlib.suppress(ValueError):
        said = json.loads(line)
        if isinstance(said, dict):
            return said
    return {}
