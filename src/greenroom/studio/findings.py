"""One thing to know about a set of pictures, in the form that everybody shows it in."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    BLOCKS = "blocks"
    WARNS = "warns"
    INFORMS = "informs"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing to know: what was measured, against which threshold, and what to do."""

    code: str
    level: Level
    message: str
    remedy: str
    picture: str | None = None
    """Display name of the picture; None when it is about the set."""
    picture_id: str | None = None
    value: float | str | None = None
    threshold: float | str | None = None
    action: str | None = None
    """What the remedy does with the picture: remove, replace or keep; None when it is about something else."""

    def as_json(self) -> dict[str, Any]:
        """The finding as the command line and the API print it."""
        return asdict(self)
