"""Shows a run's progress on stderr: a moving bar for a person, plain lines for a log.

Knows events; knows nothing about where they come from.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from greenroom.cli import terminal
from greenroom.ml import events

LINE_EVERY_S = 10.0

WORDS = {
    "preflight": "checking memory",
    "cache": "preparing pictures",
    "train": "training",
    "select": "choosing",
    "export": "exporting",
    "load": "loading the base",
    "draw": "drawing",
}


class Bar:
    """A context in which `show(event)` may be called for each event."""

    def __init__(self) -> None:
        self._phase = ""
        self._line_at = 0.0
        self._last = ""
        self._task: TaskID | None = None
        self._bar: Progress | None = None
        if terminal.is_watched():
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description:<18}"),
                BarColumn(),
                TextColumn("{task.completed:.0f}/{task.total:.0f}"),
                TextColumn("{task.fields[facts]}"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, event: events.Event) -> None:
        """Show one event."""
        if isinstance(event, events.Note):
            self._print(f"Note: {event.text}")
        elif isinstance(event, events.Progress):
            if self._bar is not None:
                self._move(self._bar, event)
            else:
                self._line(event)

    def _move(self, bar: Progress, event: events.Progress) -> None:
        words = WORDS[event.phase]
        if self._task is None:
            self._task = bar.add_task(words, total=event.total_steps, facts="")
        bar.update(
            self._task,
            description=words,
            completed=event.step,
            total=max(event.total_steps, 1),
            facts=_facts(event),
        )

    def _line(self, event: events.Progress) -> None:
        is_new = event.phase != self._phase
        is_last = event.step == event.total_steps
        if is_new or is_last or time.monotonic() - self._line_at > LINE_EVERY_S:
            self._phase, self._line_at = event.phase, time.monotonic()
            share = f"{event.step}/{event.total_steps}" if event.total_steps > 1 else ""
            line = "  ".join(part for part in (WORDS[event.phase], share, _facts(event)) if part)
            if line != self._last:
                terminal.say(line)
            self._last = line

    def _print(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            terminal.say(text)


def _facts(event: events.Progress) -> str:
    facts = []
    if event.loss is not None:
        facts.append(f"loss {event.loss:.4f}")
    if event.seconds_left is not None:
        facts.append(f"{terminal.duration(event.seconds_left)} left")
    return "  ".join(facts)
