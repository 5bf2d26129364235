"""Captioners: each says in words what a picture shows, leaving out what must stay with the actor.

Know what vision measured, never the database. A caption has no trigger in it; studio.captions puts it in front.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from greenroom.captioners import composed

if TYPE_CHECKING:
    from greenroom.vision.look import Look

__all__ = ["CAPTIONERS", "LENGTHS", "Captioner"]

LENGTHS = ("short", "full")


class Captioner(Protocol):
    """Says what a picture shows. `length` is short or full."""

    def __call__(self, look: Look, *, kind: str, length: str) -> str: ...


CAPTIONERS: Mapping[str, Captioner] = {"composed": composed.caption}
