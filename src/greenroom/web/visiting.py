"""Who has asked, for as long as one request is answered. Set by the door alone; read where the studio opens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from greenroom.db.models import Role


@dataclass(frozen=True, kw_only=True)
class Visitor:
    """The one who has asked, and what they may do."""

    how: Literal["machine", "browser", "key"]
    """From this machine without an account, signed in, or with an API key."""
    role: Role
    can_write: bool
    workspace_id: str | None = None
    """None: the one workspace of a studio without accounts."""
    account_id: str | None = None
    account_name: str = ""
    form_token: str = ""
    """What proves that a form came from a page of ours; empty where no cookie says who asks."""

    @property
    def is_owner(self) -> bool:
        """Whether they may change members and keys."""
        return self.can_write and self.role == Role.OWNER


MACHINE = Visitor(how="machine", role=Role.OWNER, can_write=True)
"""Whoever sits at this machine, in a studio without accounts."""

_current: ContextVar[Visitor | None] = ContextVar("visitor", default=None)


def current() -> Visitor | None:
    """Who has asked; None where nobody needs to be known, as on the sign-in page."""
    return _current.get()


@contextmanager
def by(visitor: Visitor | None) -> Iterator[None]:
    """Within it, that visitor is the one who has asked; threads that are started for the request know it too."""
    token = _current.set(visitor)
    try:
        yield
    finally:
        _current.reset(token)
