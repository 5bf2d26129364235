"""Where the torch side runs: a child apart from the studio, so that its crash is never the studio's.

Knows processes, lines and exit codes; knows nothing about trainings, pictures or the database.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from greenroom.errors import WrongUse
from greenroom.runners.ended import Ended
from greenroom.runners.local import LocalRunner

__all__ = ["RUNNERS", "Ended", "Runner", "Running", "get"]


class Running(Protocol):
    """A child that was launched."""

    def next_line(self, timeout_s: float) -> str | None:
        """The next line of its stdout, or None when none came in time."""

    def send(self, line: str) -> None:
        """One line to its stdin; raises BrokenPipeError when it no longer listens."""

    def stop(self) -> None:
        """Ask it to save and end."""

    def kill(self) -> None:
        """End it now."""

    def ended(self) -> Ended | None:
        """How it ended; None while it runs or has lines left to read."""

    def close(self) -> None:
        """End it if it still runs, and free what it held here."""


class Runner(Protocol):
    """A place where children run."""

    def launch(
        self, module: str, arguments: Sequence[str], *, log: Path, lock: Path | None = None
    ) -> Running:
        """Start `python -m module arguments…`; its stderr is appended to `log`.

        lock: a file that only one child may hold at a time; one that a dead worker left is ended first.
        """


RUNNERS: dict[str, Callable[[], Runner]] = {"local": LocalRunner}


def get(name: str) -> Runner:
    """The runner of that name (the setting `runner`)."""
    if name not in RUNNERS:
        raise WrongUse(f"There is no runner {name!r}. Set GREENROOM_RUNNER to one of: {', '.join(RUNNERS)}.")
    return RUNNERS[name]()
