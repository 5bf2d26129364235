"""What a training or a drawing says while it runs: one JSON line each. Knows nothing about who listens."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import IO, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from greenroom.ml.select import Scores

Phase = Literal["preflight", "cache", "train", "select", "export", "load", "draw"]


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Progress(_Event):
    """How far a phase is. `seconds` is what the run took so far, `seconds_left` what its steps still need."""

    event: Literal["progress"] = "progress"
    phase: Phase
    step: int
    total_steps: int
    loss: float | None = None
    seconds_left: float | None = None
    seconds: float


class Note(_Event):
    """One sentence that a person should be told, about a choice that was made for them."""

    event: Literal["note"] = "note"
    text: str


class Sample(_Event):
    """A sample picture was written; `file` is relative to the run folder."""

    event: Literal["sample"] = "sample"
    step: int
    index: int
    prompt: str
    seed: int
    file: str


class Saved(_Event):
    """A checkpoint is safely on disk; `folder` is relative to the run folder."""

    event: Literal["saved"] = "saved"
    step: int
    folder: str


class Measured(_Event):
    """A checkpoint was scored; `sheet` has the pictures it was scored on, relative to the run folder."""

    event: Literal["measured"] = "measured"
    step: int
    scores: Scores
    sheet: str


class Chosen(_Event):
    """The checkpoint whose weights are exported, and those that were kept to choose from instead."""

    event: Literal["chosen"] = "chosen"
    step: int
    kept: dict[int, str]
    """Step -> folder of its exported files, relative to the run folder."""


class Failed(_Event):
    """The run ended without a result: what happened and what to do. `code` is the error's class name."""

    event: Literal["failed"] = "failed"
    code: str
    message: str
    remedy: str = ""


class Done(_Event):
    """The run ended well; the paths are relative to the run folder."""

    event: Literal["done"] = "done"
    lora: str
    kohya: str | None = None
    steps: int
    seconds: float
    chosen_step: int | None = None
    """The step that the exported weights are from; null when it is the last."""


Event = Annotated[
    Progress | Note | Sample | Saved | Measured | Chosen | Failed | Done, Field(discriminator="event")
]
_adapter: TypeAdapter[Event] = TypeAdapter(Event)


def parse(line: str | bytes) -> Event:
    """One line of events.jsonl; raises pydantic's ValidationError when it is not an event."""
    return _adapter.validate_json(line)


class Journal:
    """Where a run's events go: appended to its events.jsonl and, while somebody listens, to `stream`."""

    def __init__(self, file: Path, stream: IO[str]) -> None:
        self._stream = stream
        is_torn = file.is_file() and not file.read_bytes().endswith(b"\n")
        self._file = file.open("a", encoding="utf-8")
        if is_torn:  # the run before was killed in the middle of a line
            self._file.write("\n")

    def tell(self, event: BaseModel) -> None:
        """Append one event."""
        line = event.model_dump_json() + "\n"
        with contextlib.suppress(OSError):  # a full disk must not end the run before its checkpoint says so
            self._file.write(line)
            self._file.flush()
        with contextlib.suppress(BrokenPipeError):  # nobody listens any more; the run goes on
            self._stream.write(line)
            self._stream.flush()

    def sync(self) -> None:
        """Make what was told so far survive a power cut."""
        with contextlib.suppress(OSError):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


def private_stdout() -> IO[str]:
    """Keep stdout for events: whatever a library prints from now on goes to stderr instead."""
    sys.stdout.flush()
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return events
